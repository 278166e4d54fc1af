"""Synthetic speech with known phone times: sentences that espeak-ng says. It is no real speech.

The library tells the sample at which each phone begins; the program cannot, without voices of
mbrola. Sentences are words by chance. Voices of the test are not those of the training. The library
keeps some state from one sentence to the next: said again, a sentence has the same phones, at times
that may differ by some samples.
"""

import ctypes
import ctypes.util

import numpy as np

from examples.inherent_recurrence.timit import SILENCE, Utterance

SYNCHRONOUS, PHONEME_EVENTS = 2, 1  # of espeak_Initialize
UTF8 = 1
RATE, PITCH = 1, 3  # of espeak_SetParameter
LIST_END, PHONEME = 0, 7  # types of events
VOICES = {
    "training": ("m1", "m2", "m3", "m4", "m5", "f1", "f2", "f3"),
    "test": ("m6", "m7", "f4", "f5"),
}
# Words a minute, and pitch from 0 to 99.
SPEEDS, PITCHES = (140, 190), (35, 65)
WORDS = """about above after again air always animal answer apple around back bath beach bird black
blue boat book both boy bread bridge bring brother build button buy call carry chair change cheese
children choice church city clean clothes cloud coffee cold could country cow cut dark day deep
dinner dog door down dream drink early earth easy eat edge egg eight enough evening every eye face
fall farm father feather fire fish five flower foot found four friend full garden girl give glass
good great green ground half hand happy head hear heavy high hill hope horse house hundred ice
inside jacket join joy judge jump keep kitchen knife lake large laugh leave letter light listen
little long look loud lunch machine make many measure milk month moon morning mother mountain mouse
move music narrow near never new night noise north nothing number ocean old orange out over page
paper peace pear picture place play pleasure point poor pull push quick quiet rain reach read red
river road rock room round sail salt school sea seven shadow sharp sheep ship shoe shop shore short
show silver sing six sleep small smooth snow soft song soup south speak spoon spring stone storm
story street strong summer sun sure sweet swim table talk tall teach ten thank that thick thin thing
think this those thought three throw time together tomorrow tooth town toy train tree true under
usual valley vision visit voice wait walk warm watch water weather welcome west wheel where white
wide wind window winter wish with wood word work world yellow yesterday young zero zoo""".split()


class Identifier(ctypes.Union):
    """`id` of an event: the name of a phone is in `string`, ended by 0 unless it has 8 bytes."""

    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", Identifier),
    ]


CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event)
)


def library():
    """The library and its rate in Hz.

    Raises:
        FileNotFoundError: If it is not installed, or its voices are not.
    """
    path = ctypes.util.find_library("espeak-ng")
    advice = "Install espeak-ng (apt-get install espeak-ng), or use another source."
    if path is None:
        raise FileNotFoundError(f"The source 'synthetic' needs the library of espeak-ng. {advice}")
    found = ctypes.CDLL(path)
    rate = found.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS)
    if rate <= 0:
        raise FileNotFoundError(f"espeak-ng has no data of its voices. {advice}")
    return found, rate


def say(found, rate, text, voice, speed, pitch):
    """What espeak-ng says: an `Utterance`.

    Args:
        found: What `library` gives.
        rate: The same.
        text: What to say, in English.
        voice: A variant of the voice, such as `"f2"`.
        speed: Words a minute.
        pitch: From 0 to 99.

    Raises:
        ValueError: If there is no such voice.
    """
    samples, begins = [], []

    @CALLBACK
    def hear(wave, count, events):
        index = 0
        while events[index].type != LIST_END:
            if events[index].type == PHONEME:
                begins.append((events[index].sample, events[index].id.string.decode()))
            index += 1
        if wave:
            samples.append(np.ctypeslib.as_array(wave, (count,)).copy() if count else [])
        return 0

    found.espeak_SetSynthCallback(hear)
    if found.espeak_SetVoiceByName(f"en-us+{voice}".encode()) != 0:
        raise ValueError(f"espeak-ng has no voice en-us+{voice}: see espeak-ng --voices=variant.")
    found.espeak_SetParameter(RATE, speed, 0)
    found.espeak_SetParameter(PITCH, pitch, 0)
    spoken = text.encode()
    found.espeak_Synth(spoken, len(spoken) + 1, 0, 0, 0, UTF8, None, None)
    found.espeak_Synchronize()
    samples = np.concatenate(samples).astype("float32") / 2**15
    ends = [begin for begin, _ in begins[1:]] + [len(samples)]
    phones = [
        (begin, end, plain(name))
        for (begin, name), end in zip(begins, ends, strict=True)
        if end > begin
    ]
    return Utterance(samples, rate, phones)


def plain(name):
    """The phone that an allophone of espeak-ng is one of: `I2` and `I#` are `I`."""
    return SILENCE if name.startswith("_") or not name else name.rstrip("#2|") or name


def synthetic(training, test, seed=0):
    """Sentences of four to seven words.

    Args:
        training: How many to train on.
        test: How many to test on, in other voices.
        seed: Seed of words and voices.

    Returns:
        `(training, test)`: dictionaries from `"VOICE/NUMBER"` to `Utterance`.

    Raises:
        FileNotFoundError: If espeak-ng is not installed.
    """
    found, rate = library()
    random = np.random.default_rng(seed)
    parts = []
    for count, voices in zip((training, test), VOICES.values(), strict=True):
        said = {}
        for number in range(count):
            voice = voices[number % len(voices)]
            text = " ".join(random.choice(WORDS, random.integers(4, 8)))
            speed, pitch = (int(random.integers(*limits)) for limits in (SPEEDS, PITCHES))
            said[f"{voice}/{number}"] = say(found, rate, text, voice, speed, pitch)
        parts.append(said)
    return tuple(parts)
