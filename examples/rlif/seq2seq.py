"""A network that writes a summary of a text: figure 4 of the paper; and its beam search.

The encoder is blocks of layer normalization and a bidirectional LSTM, the decoder blocks of layer
normalization and a LIF-LSTM or an LSTM. Attention of several heads asks with what the last layer of
the decoder says, in a LIF-LSTM spikes, and is answered by the last layer of the encoder.
"""

import math

import keras
import tensorflow as tf
from keras import layers, ops

from examples.rlif.pairs import END, PADDING, START, UNKNOWN, Vocabulary
from keras_spiking_rnn import LIFLSTM

DECODERS = {"LIFLSTM": LIFLSTM, "LSTM": layers.LSTM}
FEW = -1e9  # a score that counts for nothing, and has a gradient of 0 and not one that is no number
TINY = 1e-30
READS_ON = 2.0


class PresencePrior(layers.Layer):
    """Makes the tokens of the source likelier, each as much as is learned for it.

    It is the mean of the logits and of `exp(scale) * present + shift`, where `present` is 1 for the
    tokens of the source, else 0: at all steps the same.

    Call arguments:
        logits: Those without the prior, (batch, steps, vocabulary).
        features: What they are made from, (batch, steps, units).
        memory: What the encoder says, (batch, text_length, units).
        sources: The tokens of the source, int32 (batch, text_length).
        follows: 1 where the token before is the one that was said last, else 0, of shape
            (batch, steps, text_length).
        said: 1 where the token has been said, of the same shape.
    """

    def build(self, input_shape):
        """Creates the weights, each of shape (vocabulary,)."""
        self.scale = self.add_weight(shape=input_shape[-1:], initializer="zeros", name="scale")
        self.shift = self.add_weight(shape=input_shape[-1:], initializer="zeros", name="shift")

    def call(self, logits, features, memory, sources, follows, said):
        """The logits with the prior."""
        present = presence(sources, logits.shape[-1])[:, None, :]
        return (logits + ops.exp(self.scale) * present + self.shift) / 2


class CopyPrior(layers.Layer):
    """Makes tokens of the source likelier, which of them is said anew at each step.

    Each place of the source has a score by attention of one head; a gate adds to the scores of all,
    and two more to those of places whose token follows the one that was said last, and whose token
    has been said. The exponential of its score is added to that of the token there, before all are
    divided by their sum: the copying of CopyNet (Gu et al. 2016), which the paper has in its table
    3. That it is told where it reads is the selective reading there, and where it has read, the
    coverage of See et al. (2017), of tokens.

    Call arguments: those of `PresencePrior`.
    """

    def build(self, logits_shape, features_shape, memory_shape, sources_shape, *_):
        """Creates the weights.

        At first about half of the probability is the source's, which is read in its order.
        """
        self.keys = layers.Dense(features_shape[-1], use_bias=False, name="keys")
        self.keys.build(memory_shape)
        evenly = math.log(logits_shape[-1] / sources_shape[-1])

        def at_first(shape, dtype=None):
            return ops.convert_to_tensor([evenly, READS_ON, -READS_ON], dtype)

        self.gates = layers.Dense(3, bias_initializer=at_first, name="gates")
        self.gates.build(features_shape)

    def call(self, logits, features, memory, sources, follows, said):
        """The logits with the prior."""
        gate, to_follow, to_repeat = ops.split(self.gates(features), 3, axis=-1)
        scores = ops.matmul(features, ops.transpose(self.keys(memory), (0, 2, 1)))
        scores = scores / features.shape[-1] ** 0.5 + gate + to_follow * follows + to_repeat * said
        scores = ops.where(sources[:, None, :] == PADDING, FEW, scores)
        largest = ops.maximum(
            ops.max(logits, axis=-1, keepdims=True), ops.max(scores, axis=-1, keepdims=True)
        )
        largest = ops.stop_gradient(largest)
        which = ops.one_hot(sources, logits.shape[-1], dtype=scores.dtype)
        copied = ops.matmul(ops.exp(scores - largest), which)
        return ops.log(ops.exp(logits - largest) + copied + TINY)


PRIORS = {"copy": CopyPrior, "presence": PresencePrior}


class Summarizer(keras.Model):
    """The network of figure 4.

    Args:
        vocabulary: Number of tokens.
        units: Units of each LIF-LSTM or LSTM; the encoder has half as many in each direction.
        decoder: `"LIFLSTM"` or `"LSTM"`.
        blocks: Blocks of the encoder, and of the decoder.
        heads: Heads of the attention.
        dropout: Fraction of the embeddings, and of what the scores are made from, to drop.
        threshold: Firing threshold of a LIF-LSTM.
        seed: Seed of the dropout. That of the weights is Keras' global one.
        prior: That of the tokens of the source, a key of `PRIORS`.

    Call arguments:
        inputs: `(sources, summaries)`: int32 of shape (batch, text_length) and
            (batch, summary_length), from `START` on: teacher forcing.

    Returns:
        Logits of the tokens that follow those of the summary, (batch, summary_length, vocabulary).
    """

    def __init__(self, vocabulary, units, decoder, blocks, heads, dropout, threshold, seed, prior):
        super().__init__()
        self.vocabulary, self.units = vocabulary, units
        self.embedding = layers.Embedding(vocabulary, units, name="embedding")
        self.dropout = layers.Dropout(dropout, seed=seed)
        self.encoder = [
            (
                layers.LayerNormalization(name=f"encoder_norm_{block}"),
                layers.Bidirectional(
                    layers.LSTM(units // 2, return_sequences=True), name=f"encoder_{block}"
                ),
            )
            for block in range(blocks)
        ]
        options = {"threshold": threshold} if decoder == "LIFLSTM" else {}
        self.decoder = [
            (
                layers.LayerNormalization(name=f"decoder_norm_{block}"),
                DECODERS[decoder](units, return_sequences=True, name=f"decoder_{block}", **options),
            )
            for block in range(blocks)
        ]
        self.attention = layers.MultiHeadAttention(heads, units // heads, name="attention")
        self.combine = layers.Dense(units, name="combine")
        self.leaky = layers.LeakyReLU(negative_slope=0.2)  # figure 4
        self.bias = self.add_weight(shape=(vocabulary,), initializer="zeros", name="bias")
        self.prior = PRIORS[prior](name="prior")

    def call(self, inputs, training=False):
        """Teacher forcing; see the class."""
        sources, summaries = inputs
        x = self.embed(summaries, training)
        for norm, layer in self.decoder:
            x = layer(norm(x))
        now, follows = met(sources, summaries)
        said = ops.minimum(ops.cumsum(now, axis=1), 1.0)
        return self.scores(x, self.encode(sources, training), follows, said, training)

    def embed(self, numbers, training=False):
        """The vectors of tokens."""
        return self.dropout(self.embedding(numbers), training=training)

    def encode(self, sources, training=False):
        """What the decoder needs of texts: what the encoder says, and the texts."""
        mask = ops.not_equal(sources, PADDING)
        x = self.embed(sources, training)
        for norm, layer in self.encoder:
            x = layer(norm(x), mask=mask)
        return x, sources

    def scores(self, queries, encoded, follows, said, training=False):
        """Logits, (batch, n, vocabulary), for what the decoder says, (batch, n, units).

        `follows` and `said`, (batch, n, text_length), are those of the priors.
        """
        memory, sources = encoded
        mask = ops.not_equal(sources, PADDING)[:, None, :]
        context = self.attention(queries, memory, attention_mask=mask)
        both = ops.concatenate([queries, context], axis=-1)
        x = self.dropout(self.leaky(self.combine(both)), training=training)
        # A token is read and said with the same vector, of which fewer pairs are enough to learn.
        flat = ops.matmul(
            ops.reshape(x, (-1, self.units)), ops.transpose(self.embedding.embeddings)
        )
        logits = ops.reshape(flat + self.bias, (*ops.shape(x)[:-1], self.vocabulary))
        return self.prior(logits, x, memory, sources, follows, said)

    def step(self, numbers, states, encoded, beams):
        """One step of the decoder: `numbers` and states have `samples * beams` rows.

        The last of the states is which tokens of the source have been said, as for the priors.

        Returns:
            Logarithms of the probabilities, (samples * beams, vocabulary), and the new states.
        """
        x, new = self.embed(numbers), []
        *of_layers, said = states
        for (norm, layer), state in zip(self.decoder, of_layers, strict=True):
            x, state = layer.cell(norm(x), state)
            new.append(list(state))
        # To the attention the beams of a sample are what the steps are in training.
        sources = encoded[1]
        now, follows = met(sources, ops.reshape(numbers, (-1, beams)))
        said = ops.maximum(ops.reshape(said, ops.shape(now)), now)
        new.append(ops.reshape(said, (-1, ops.shape(sources)[1])))
        logits = self.scores(ops.reshape(x, (-1, beams, self.units)), encoded, follows, said)
        present = presence(sources, self.vocabulary)
        logits = ops.where(writable(present)[:, None, :], logits, -float("inf"))
        return ops.reshape(ops.log_softmax(logits), (-1, self.vocabulary)), new

    @tf.function(reduce_retracing=True)
    def search(self, sources, beams, length, penalty):
        """The best `beams` summaries of texts: see `beam_search`."""
        samples = ops.shape(sources)[0]
        encoded = self.encode(sources)
        states = [
            list(layer.cell.get_initial_state(batch_size=samples * beams))
            for _, layer in self.decoder
        ]
        states.append(ops.zeros((samples * beams, ops.shape(sources)[1])))
        return beam_search(
            lambda numbers, states: self.step(numbers, states, encoded, beams),
            states,
            (samples, beams, length),
            penalty,
        )


def met(sources, said):
    """Where each token that is said is in the source, and what follows it there.

    Args:
        sources: Tokens, int32 (samples, text_length).
        said: Tokens, int32 (samples, n). What follows `START` is the first token of the source.

    Returns:
        Two arrays (samples, n, text_length) of 0 and 1.
    """
    before = ops.concatenate([ops.full_like(sources[:, :1], START), sources[:, :-1]], axis=1)
    return [ops.cast(each[:, None, :] == said[:, :, None], "float32") for each in (sources, before)]


def presence(sources, vocabulary):
    """1 for the tokens of each source, else 0: (samples, vocabulary)."""
    samples = ops.broadcast_to(ops.arange(ops.shape(sources)[0])[:, None], ops.shape(sources))
    counts = ops.scatter(
        ops.stack([samples, sources], axis=-1),
        ops.cast(ops.not_equal(sources, PADDING), "float32"),
        (ops.shape(sources)[0], vocabulary),
    )
    return ops.minimum(counts, 1.0)


def writable(present):
    """Which tokens a summary may have: booleans, (samples, vocabulary).

    No mark but `END`, and no name that the source does not have.
    """
    number = ops.arange(ops.shape(present)[-1])
    mark = (number == PADDING) | (number == UNKNOWN) | (number == START)
    name = (number >= Vocabulary.NAMES_START) & (number < Vocabulary.SYMBOLS_START)
    return ~mark & (~name | (present > 0))


def beam_search(step, states, shape, penalty, start=START, end=END):
    """The likeliest sequences, of which at each step the best so many are kept.

    Args:
        step: Function from the latest tokens, int32 (samples * beams,), and the states to the
            logarithms of the probabilities of the next tokens, (samples * beams, vocabulary), and
            the new states.
        states: The states to begin with, a structure of tensors (samples * beams, ...).
        shape: `(samples, beams, length)`, the last the greatest number of tokens, with `end`.
        penalty: The sum of logarithms is divided by the number of tokens to the power of this,
            before the sequences are put into order. 0 prefers short ones.
        start: The token to begin with.
        end: The token that ends a sequence.

    Returns:
        `(sequences, scores)`: int32 of shape (samples, beams, length), the best first, filled up
        with `end`; and what they are ordered by, (samples, beams).
    """
    samples, beams, length = shape
    first_row = ops.arange(samples)[:, None] * beams

    def unfinished(position, sequences, totals, latest, states):
        return (position < length) & ops.any(latest != end)

    def advance(position, sequences, totals, latest, states):
        logarithms, states = step(ops.reshape(latest, (-1,)), states)
        vocabulary = logarithms.shape[-1]
        logarithms = ops.reshape(logarithms, (samples, beams, vocabulary))
        # What has ended goes on with `end`, which costs nothing.
        only_end = ops.where(ops.arange(vocabulary) == end, 0.0, -float("inf"))
        logarithms = ops.where((latest == end)[..., None], only_end, logarithms)
        candidates = ops.reshape(totals[..., None] + logarithms, (samples, beams * vocabulary))
        totals, chosen = ops.top_k(candidates, beams)
        parents, latest = chosen // vocabulary, chosen % vocabulary
        rows = ops.reshape(first_row + parents, (-1,))
        states = keras.tree.map_structure(lambda state: ops.take(state, rows, axis=0), states)
        sequences = ops.take_along_axis(sequences, parents[..., None], axis=1)
        sequences = ops.where(ops.arange(length) == position, latest[..., None], sequences)
        return position + 1, sequences, totals, latest, states

    # All beams are the same at first: only one counts.
    totals = ops.where(ops.arange(beams) == 0, 0.0, -float("inf"))
    _, sequences, totals, _, _ = ops.while_loop(
        unfinished,
        advance,
        (
            ops.convert_to_tensor(0),
            ops.full((samples, beams, length), end, "int32"),
            ops.broadcast_to(totals, (samples, beams)),
            ops.full((samples, beams), start, "int32"),
            states,
        ),
    )
    tokens = ops.sum(ops.cast(sequences != end, "float32"), axis=-1) + 1
    scores, order = ops.top_k(totals / ops.minimum(tokens, float(length)) ** penalty, beams)
    return ops.take_along_axis(sequences, order[..., None], axis=1), scores
