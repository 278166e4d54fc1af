"""The integer network: what it accepts, how it runs, and its file."""

import dataclasses
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_export import LIF, Dense, Network, NetworkFileError, files, hdf5, host, load, reference
from lava_export.network import _digest, restored, stored
from lava_export.report import LayerQuantization, QuantizationReport

RANGES = {
    "du": (0, 4095),
    "dv": (0, 4095),
    "vth": (0, 2**17 - 1),
    "bias_mant": (-4096, 4095),
    "bias_exp": (0, 7),
    "u0": (-(2**23) + 1, 2**23 - 1),
    "v0": (-(2**23) + 1, 2**23 - 1),
}


def small(**registers):
    """Two inputs, two units."""
    return Network([Dense([[60, 20], [-40, 100]]), LIF(dv=400, vth=64, **registers)])


def integers(draw, low, high, *shape):
    count = int(np.prod(shape))
    values = draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
    return np.array(values, int).reshape(shape)


@st.composite
def networks(draw):
    """Networks of one to three layers, with registers of all sizes."""
    widths = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    layers = []
    for inputs, units in zip(widths, widths[1:], strict=False):
        weights = integers(draw, -256, 255, units, inputs)
        layers.append(Dense(weights, draw(st.integers(-8, 7)), draw(st.integers(1, 8))))
        registers = {
            name: integers(draw, low, high, *draw(st.sampled_from([(), (units,)])))
            for name, (low, high) in RANGES.items()
        }
        layers.append(LIF(**registers))
    encoder = draw(st.sampled_from([(), (host.Rescale(0.5, -1.0), host.PoissonEncoding(3, 0.7))]))
    classes = np.linspace(-1, 1, widths[-1] * 2, dtype=np.float32).reshape(-1, 2)
    head = draw(
        st.sampled_from(
            [
                (),
                (host.LastStep(), host.Reshape((widths[-1],))),
                (
                    host.TimeSum(mean=True),
                    host.Affine(classes, np.float32([0.1, 0.2])),
                    host.Activation("softmax"),
                ),
            ]
        )
    )
    names = tuple(f"läyer/{i}" for i in range(len(widths) - 1))
    report = draw(st.sampled_from([None, quantization(names)]))
    return Network(layers, encoder, head, names, report)


def quantization(names):
    values = {field.name: 0.1 for field in dataclasses.fields(LayerQuantization)}
    return QuantizationReport(5, 7, [LayerQuantization(**{**values, "name": n}) for n in names])


def random_spikes(network, batch=3, steps=5, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (batch, steps, network.inputs), np.int8)


class TestRegisters:
    @pytest.mark.parametrize("name", RANGES)
    def test_lif_takes_all_of_a_register_and_nothing_beyond(self, name):
        low, high = RANGES[name]
        for value in (low, high):
            assert getattr(LIF(**{name: value}), name) == value
            np.testing.assert_array_equal(getattr(LIF(**{name: [value, 1]}), name), [value, 1])
        for value in (low - 1, high + 1):
            for registers in (value, [1, value]):
                with pytest.raises(ValueError, match=rf"LIF\.{name} must be in \[{low}, {high}\]"):
                    LIF(**{name: registers})

    @pytest.mark.parametrize(
        "name, low, high", [("weights", -256, 255), ("exponent", -8, 7), ("num_weight_bits", 1, 8)]
    )
    def test_dense_takes_all_of_a_register_and_nothing_beyond(self, name, low, high):
        def dense(value):
            value = [[value, 1]] if name == "weights" else value
            return Dense(**{"weights": [[2, 1]], name: value})

        for value in (low, high):
            assert np.ravel(getattr(dense(value), name))[0] == value
        for value in (low - 1, high + 1):
            with pytest.raises(ValueError, match=rf"Dense\.{name} must be in \[{low}, {high}\]"):
                dense(value)

    @pytest.mark.parametrize("value", [1.0, True, "1", None, 1j, [1.0, 2.0], [True, False]])
    @pytest.mark.parametrize("name", RANGES)
    def test_only_integers_are_taken(self, name, value):
        with pytest.raises(TypeError, match=rf"LIF\.{name} must hold integers"):
            LIF(**{name: value})

    @pytest.mark.parametrize("weights", [[[0.5, 1.0]], [[True, False]], [["a"]]])
    def test_only_integer_weights_are_taken(self, weights):
        with pytest.raises(TypeError, match=r"Dense\.weights must hold integers"):
            Dense(weights)

    @pytest.mark.parametrize("weights", [1, [1, 2], [[[1]]]])
    def test_weights_have_two_dimensions(self, weights):
        with pytest.raises(ValueError, match=r"Dense\.weights must have 2 dimensions"):
            Dense(weights)

    def test_a_register_is_a_number_or_one_for_each_unit(self):
        with pytest.raises(ValueError, match=r"LIF\.vth must have 0 or 1 dimensions"):
            LIF(vth=[[1, 2]])
        with pytest.raises(ValueError, match=r"Dense\.exponent must have 0 dimensions"):
            Dense([[1]], exponent=[1])

    @pytest.mark.parametrize("make", [lambda e: LIF(vth=e), lambda e: Dense(e.reshape(0, 3))])
    def test_empty_registers_are_refused(self, make):
        with pytest.raises(ValueError, match="is empty"):
            make(np.zeros(0, int))

    @pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", ">i4"])
    def test_any_integer_type_is_stored_alike(self, dtype):
        lif = LIF(vth=np.array([3, 5], dtype), dv=np.array(7, dtype)[()])
        assert lif.vth.dtype == np.int32
        assert type(lif.dv) is int
        assert lif == LIF(vth=[3, 5], dv=7)

    def test_values_beyond_32_bits_are_refused_and_not_wrapped(self):
        with pytest.raises(ValueError, match="must be in"):
            LIF(vth=2**40 + 5)


class TestChain:
    @pytest.mark.parametrize("layers", [[], [Dense([[1]])], [Dense([[1]]), LIF(), Dense([[1]])]])
    def test_layers_come_in_pairs(self, layers):
        with pytest.raises(ValueError, match="synapses and units in turn"):
            Network(layers)

    @pytest.mark.parametrize("layers", [[LIF(), Dense([[1]])], [Dense([[1]]), "LIF"]])
    def test_synapses_come_first_and_units_second(self, layers):
        with pytest.raises(TypeError, match="Dense, LIF, Dense, LIF"):
            Network(layers)

    def test_widths_fit(self):
        with pytest.raises(ValueError, match="Layer 2 takes 3 inputs, .* has 2 units"):
            Network([Dense([[1], [2]]), LIF(), Dense([[1, 2, 3]]), LIF()])

    @pytest.mark.parametrize("name", RANGES)
    def test_arrays_have_one_value_for_each_unit(self, name):
        with pytest.raises(ValueError, match=rf"Layer 1: LIF\.{name} has the shape \(3,\)"):
            Network([Dense([[1, 2], [3, 4]]), LIF(**{name: [1, 1, 1]})])

    def test_each_layer_of_units_has_a_name(self):
        assert small().names == ("layer_0",)
        with pytest.raises(ValueError, match="1 layers of units and 2 names"):
            Network(small().layers, names=("a", "b"))
        with pytest.raises(TypeError, match="names must be text"):
            Network(small().layers, names=(1,))

    @pytest.mark.parametrize("shape", [("a",), (None, 0), (2.5,)])
    def test_shapes_of_inputs_have_sizes(self, shape):
        with pytest.raises(ValueError, match="input_shape has a size for each axis"):
            Network(small().layers, input_shape=shape)

    @pytest.mark.parametrize("part", ["encoder", "head"])
    def test_encoder_and_head_are_operations_of_the_host(self, part):
        with pytest.raises(TypeError, match="operations of lava_export.host .*Flatten"):
            Network(small().layers, **{part: [np.ravel]})

    def test_sizes_are_those_of_the_first_and_last_layer(self):
        network = Network([Dense([[1, 2, 3]] * 2), LIF(), Dense([[1, 2]] * 4), LIF()])
        assert (network.inputs, network.units) == (3, 4)


class TestFrozen:
    def test_fields_cannot_be_assigned(self):
        network = small()
        for item, field in ((network, "layers"), (network.layers[0], "weights")):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(item, field, None)

    def test_arrays_cannot_be_written(self):
        network = small(v0=[1, 2])
        for array in (network.layers[0].weights, network.layers[1].v0):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0

    def test_arrays_are_copies(self):
        weights = np.ones((2, 2), np.int32)
        network = Network([Dense(weights), LIF()])
        weights[:] = 5
        assert (network.layers[0].weights == 1).all()


class TestEquality:
    def test_equal_content_is_equal(self):
        assert small() == small()
        assert small().digest() == small().digest()
        assert LIF(vth=[1, 2]) == LIF(vth=np.array([1, 2]))
        assert Dense([[1, 2]]) == Dense([[1, 2]])

    @pytest.mark.parametrize(
        "other",
        [
            small(v0=1),
            Network(small().layers, names=["other"]),
            Network(small().layers, encoder=[host.Flatten()]),
            Network(small().layers, head=[host.TimeSum()]),
            Network(small().layers, head=[host.TimeSum(mean=True)]),
            Network([Dense([[60, 20], [-40, 99]]), small().layers[1]]),
            Network([Dense([[60, 20], [-40, 100]], 1), small().layers[1]]),
            Network(small().layers, quantization=quantization(["layer_0"])),
            "a string",
        ],
    )
    def test_any_difference_makes_networks_unequal(self, other):
        assert small() != other

    def test_each_difference_has_its_own_digest(self):
        networks = [small(), small(v0=1), small(u0=1), small(v0=[1, 1]), small(v0=[1, 2])]
        assert len({network.digest() for network in networks}) == len(networks)

    def test_a_number_is_not_an_array_of_it(self):
        assert LIF(vth=3) != LIF(vth=[3])
        assert LIF(vth=3) != Dense([[3]])

    def test_unhashable_as_all_that_holds_arrays(self):
        for item in (small(), *small().layers):
            with pytest.raises(TypeError, match="unhashable"):
                hash(item)


class TestRun:
    def test_spikes_are_int8_for_each_step_and_unit(self):
        network = small()
        spikes = network.run(random_spikes(network))
        assert (spikes.shape, spikes.dtype) == ((3, 5, 2), np.int8)
        assert set(np.unique(spikes)) == {0, 1}

    @pytest.mark.parametrize(
        "dtype", [bool, "int8", "uint8", "int64", "float16", "float32", "float64"]
    )
    def test_any_type_of_zeros_and_ones_gives_the_same(self, dtype):
        network = small()
        spikes = random_spikes(network)
        np.testing.assert_array_equal(network.run(spikes.astype(dtype)), network.run(spikes))
        np.testing.assert_array_equal(network.run(spikes.tolist()), network.run(spikes))

    @pytest.mark.parametrize(
        "spikes, message",
        [
            (np.zeros((3, 2)), r"shape \(batch, T, 2\), got \(3, 2\). Add a batch axis"),
            (np.zeros((3, 4, 3)), r"shape \(batch, T, 2\), got \(3, 4, 3\)"),
            (np.zeros((3, 4, 2, 1)), r"shape \(batch, T, 2\)"),
            (np.zeros(()), r"shape \(batch, T, 2\)"),
            (np.zeros((0, 4, 2)), "nothing to run"),
            (np.zeros((3, 0, 2)), "nothing to run"),
            (np.full((3, 4, 2), 2), "must be 0 or 1, got values from 2 to 2"),
            (np.full((3, 4, 2), 0.5), "must be 0 or 1"),
            (np.full((3, 4, 2), -1), "must be 0 or 1"),
            (np.full((3, 4, 2), np.nan), "must be 0 or 1"),
            (np.full((3, 4, 2), np.inf), "must be 0 or 1"),
        ],
    )
    def test_what_is_not_a_batch_of_spike_trains_is_refused(self, spikes, message):
        with pytest.raises(ValueError, match=message):
            small().run(spikes)

    @pytest.mark.parametrize("dtype", [complex, object, str, "datetime64[s]"])
    def test_what_is_not_a_real_number_is_refused(self, dtype):
        with pytest.raises(TypeError, match="booleans, integers or floats"):
            small().run(np.zeros((3, 4, 2), int).astype(dtype))

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"record": "w"}, "record='w': what can be recorded is spikes, u, v"),
            ({"record": ["u", "x"]}, "record='x'"),
            ({"backend": "loihi"}, "the backends are 'reference' and 'lava'"),
            ({"backend": "lava", "mode": "fast"}, "modes of Lava are 'stock' and 'batched'"),
        ],
    )
    def test_unknown_arguments_are_refused(self, arguments, message):
        network = small()
        with pytest.raises(ValueError, match=message):
            network.run(random_spikes(network), **arguments)

    def test_record_gives_the_states_of_all_layers_after_each_step(self):
        network = Network(
            [Dense([[20], [5], [30]]), LIF(du=2047, vth=25), Dense([[3, 4, -9]]), LIF(vth=1)]
        )
        spikes = random_spikes(network, batch=2, steps=4)
        last, states = network.run(spikes, record=("spikes", "u", "v"))
        assert list(states) == ["spikes", "u", "v"]
        for arrays in states.values():
            assert [array.shape for array in arrays] == [(2, 4, 3), (2, 4, 1)]
        np.testing.assert_array_equal(states["spikes"][-1], last)
        simulation = network.simulate(spikes)
        for i in range(2):
            np.testing.assert_array_equal(states["u"][i][:, -1], simulation.final[i]["u"])
            np.testing.assert_array_equal(states["v"][i][:, -1], simulation.final[i]["v"])
            assert not states["v"][i][states["spikes"][i] == 1].any()  # after the reset

    def test_record_takes_one_name_and_ignores_repetition(self):
        network = small()
        _, one = network.run(random_spikes(network), record="u")
        _, twice = network.run(random_spikes(network), record=["u", "u"])
        assert len(one["u"]) == len(twice["u"]) == 1
        np.testing.assert_array_equal(one["u"], twice["u"])

    @given(network=networks(), seed=st.integers(0, 2**16), size=st.integers(1, 200))
    @settings(max_examples=25, deadline=None)
    def test_chunks_of_samples_change_nothing(self, network, seed, size):
        spikes = random_spikes(network, batch=7, seed=seed)
        whole = network.simulate(spikes, record=("u", "v"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reference, "CHUNK", size)
            chunked = network.simulate(spikes, record=("u", "v"))
        for field in dataclasses.fields(whole):
            for a, b in zip(
                _arrays(getattr(whole, field.name)),
                _arrays(getattr(chunked, field.name)),
                strict=True,
            ):
                np.testing.assert_array_equal(a, b)

    @given(network=networks(), seed=st.integers(0, 2**16))
    @settings(max_examples=25, deadline=None)
    def test_samples_do_not_see_each_other(self, network, seed):
        spikes = random_spikes(network, seed=seed)
        alone = np.concatenate([network.run(sample[None]) for sample in spikes])
        np.testing.assert_array_equal(network.run(spikes), alone)

    @given(network=networks(), seed=st.integers(0, 2**16))
    @settings(max_examples=25, deadline=None)
    def test_a_spike_depends_on_the_past_only(self, network, seed):
        spikes = random_spikes(network, seed=seed)
        np.testing.assert_array_equal(network.run(spikes)[:, :2], network.run(spikes[:, :2]))

    def test_a_progress_bar_changes_nothing(self, capsys):
        network = small()
        spikes = random_spikes(network)
        quiet = network.run(spikes)
        assert capsys.readouterr().err == ""
        np.testing.assert_array_equal(network.run(spikes, progress=True), quiet)
        printed = capsys.readouterr()
        assert "3/3" in printed.err
        assert printed.out == ""  # which belongs to results

    @pytest.mark.parametrize("labelled", [False, True])
    def test_a_stream_of_batches_gives_what_one_array_does(self, labelled):
        network = small()
        spikes = random_spikes(network, batch=7)

        def stream():
            for begin in (0, 3, 4):
                batch = spikes[begin : {0: 3, 3: 4, 4: 7}[begin]]
                yield (batch, np.zeros(len(batch))) if labelled else batch

        whole = network.simulate(spikes, record=("v",))
        streamed = network.simulate(stream(), record=("v",))
        np.testing.assert_array_equal(streamed.spikes, whole.spikes)
        np.testing.assert_array_equal(streamed.states["v"][0], whole.states["v"][0])
        np.testing.assert_array_equal(streamed.final[0]["v"], whole.final[0]["v"])
        assert (streamed.wraps, streamed.saturations) == (whole.wraps, whole.saturations)
        np.testing.assert_array_equal(network.predict(stream()), network.predict(spikes))

    def test_a_stream_is_run_batch_by_batch(self):
        network, read = small(), []

        def stream():
            for i in range(3):
                read.append(i)
                yield random_spikes(network)

        parts = network.stream(stream())
        next(parts)
        assert read == [0]

    def test_a_stream_without_batches_is_refused(self):
        with pytest.raises(ValueError, match="no batches: there is nothing to run"):
            small().run(iter([]))

    def test_a_stream_of_something_else_is_refused(self):
        with pytest.raises(TypeError, match=r"arrays x, or pairs \(x, y\), got .'int', 'int'"):
            small().run(iter([(1, 2)]))

    def test_decode_without_a_head_counts_spikes(self):
        network = small()
        spikes = network.run(random_spikes(network))
        np.testing.assert_array_equal(network.decode(spikes), spikes.sum(axis=1))

    def test_predict_is_the_largest_score(self):
        network = Network(
            [Dense([[0, 100], [100, 0]]), LIF(vth=10)],
            encoder=[host.Rescale(1.0, 0.0), host.Repeat(4)],
            head=[host.TimeSum(), host.Affine(-np.eye(2, dtype=np.float32), np.zeros(2))],
        )
        assert network.predict(np.array([[1, 0], [0, 1]])).tolist() == [0, 1]

    def test_predict_refuses_a_single_score(self):
        network = Network([Dense([[100, 0]]), LIF(vth=10)])
        with pytest.raises(ValueError, match="one score for each class"):
            network.predict(random_spikes(network))


def _arrays(value):
    """The arrays and numbers in lists and dictionaries, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [array for item in value for array in _arrays(item)]
    return [value]


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "network.h5"
    small(v0=[1, 2]).save(path)
    return path


class TestFile:
    @given(network=networks())
    @settings(max_examples=40, deadline=None)
    def test_what_is_loaded_equals_what_was_saved(self, network, tmp_path_factory):
        path = tmp_path_factory.mktemp("round") / "network.h5"
        network.save(path)
        loaded = load(path)
        assert loaded == network
        assert loaded.layers == network.layers
        assert (loaded.names, loaded.quantization) == (network.names, network.quantization)
        assert loaded.encoder == network.encoder
        assert [type(operation) for operation in loaded.head] == [type(o) for o in network.head]
        spikes = random_spikes(network)
        np.testing.assert_array_equal(loaded.run(spikes), network.run(spikes))
        np.testing.assert_array_equal(
            loaded.decode(loaded.run(spikes)), network.decode(network.run(spikes))
        )
        x = np.linspace(0, 4, 6 * network.inputs).reshape(6, -1)
        np.testing.assert_array_equal(loaded.encode(x), network.encode(x))

    def test_every_operation_of_the_host_comes_back(self, tmp_path):
        operations = [
            host.Flatten(),
            host.Reshape((-1, 2)),
            host.Rescale(0.5, 1.5),
            host.PoissonEncoding(7, 0.25, 3),
            host.OnOffPoissonEncoding(0.0, 2.0, None, 3),
            host.LatencyEncoding(9, 5.0, 0.01, False),
            host.DeltaEncoding(0.2, True, True),
            host.Repeat(4),
            host.Quantize(0.5, 255),
            host.Hold(3),
            host.WindowMean(5, 2, 0.9),
            host.Pooling(True, (2, 3), (1, 2), "same"),
            host.TimeSum(mean=True),
            host.LastStep(),
            host.LeakyIntegrators(
                np.eye(2, dtype=np.float32), np.ones(2, np.float32), np.ones(2, np.float32), "max"
            ),
            host.Activation("tanh"),
            host.Affine(np.ones((2, 1), np.float32), np.zeros(1, np.float32)),
        ]
        assert {type(operation) for operation in operations} == set(host.OPERATIONS)
        network = Network(small().layers, encoder=operations)
        network.save(tmp_path / "network.h5")
        loaded = load(tmp_path / "network.h5")
        assert loaded == network
        for before, after in zip(operations, loaded.encoder, strict=True):
            assert type(before) is type(after)
            for name, value in vars(before).items():
                np.testing.assert_array_equal(getattr(after, name), value)

    def test_paths_may_be_strings(self, tmp_path):
        small().save(str(tmp_path / "network.h5"))
        assert load(str(tmp_path / "network.h5")) == small()

    def test_it_is_plain_hdf5_of_integers_floats_and_text(self, saved):
        found = []

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                found.append(name)
                assert item.dtype.kind in "ifS"

        with h5py.File(saved) as file:
            file.visititems(visit)
        assert {"names", "quantization", "layers/0000/weights", "layers/0001/v0"} <= set(found)

    def test_an_existing_file_is_kept(self, saved):
        before = saved.read_bytes()
        with pytest.raises(FileExistsError, match="overwrite=True"):
            small().save(saved)
        assert saved.read_bytes() == before

    def test_overwrite_replaces_an_existing_file(self, saved):
        small(v0=7).save(saved, overwrite=True)
        assert load(saved) == small(v0=7)
        assert [path.name for path in saved.parent.iterdir()] == ["network.h5"]

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_directory_is_not_replaced(self, tmp_path, overwrite):
        with pytest.raises(IsADirectoryError, match="is a directory"):
            small().save(tmp_path, overwrite)

    def test_a_missing_directory_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="There is no directory .*missing"):
            small().save(tmp_path / "missing" / "network.h5")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
    def test_a_directory_that_cannot_be_written_is_named(self, tmp_path):
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        try:
            with pytest.raises(PermissionError, match="Cannot write to"):
                small().save(tmp_path / "network.h5")
        finally:
            tmp_path.chmod(stat.S_IRWXU)

    def test_a_directory_that_refuses_files_is_named(self, tmp_path, monkeypatch):
        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "touch", refuse)
        with pytest.raises(PermissionError, match="Cannot write to .*Permission denied"):
            small().save(tmp_path / "network.h5")

    @pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
    def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(
        self, saved, monkeypatch, error
    ):
        before = saved.read_bytes()

        def fail(self, name, value):
            raise error

        monkeypatch.setattr(h5py.File, "__setitem__", fail)
        with pytest.raises(type(error)):
            small().save(saved, overwrite=True)
        assert saved.read_bytes() == before
        assert list(saved.parent.iterdir()) == [saved]

    def test_a_failure_before_the_first_file_leaves_nothing(self, tmp_path, monkeypatch):
        def fail(*args):
            raise OSError("disk full")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            files.write_text(tmp_path / "report.txt", "text")
        assert not list(tmp_path.iterdir())

    def test_a_process_that_is_killed_leaves_the_old_file_or_the_new_one(self, tmp_path):
        path = tmp_path / "network.h5"
        code = f"""
import os, signal, sys, numpy
from lava_export import LIF, Dense, Network
small, large = (Network([Dense(numpy.ones((n, n), int)), LIF(dv=1, vth=1)]) for n in (2, 700))
small.save({str(path)!r})
print("saved", flush=True)
while True:
    for network in (large, small):
        network.save({str(path)!r}, overwrite=True)
"""
        root = Path(__file__).parents[2]
        for seconds in (0.0, 0.01, 0.05):
            path.unlink(missing_ok=True)
            with subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root
            ) as process:
                process.stdout.readline()
                time.sleep(seconds)
                process.kill()
            assert load(path).inputs in (2, 700)

    def test_text_is_written_in_utf8(self, tmp_path):
        files.write_text(tmp_path / "report.txt", "läyer")
        assert (tmp_path / "report.txt").read_bytes() == "läyer".encode()


def edit_weight(file):
    file["layers/0000/weights"][0, 0] = 62


def edit_type(file):
    weights = file["layers/0000/weights"][()].astype("int64")
    del file["layers/0000/weights"]
    file["layers/0000/weights"] = weights


def edit_scalar(file):
    text = file["layers/0001/scalars"][()].decode()
    del file["layers/0001/scalars"]
    file["layers/0001/scalars"] = np.bytes_(text.replace('"vth": 64', '"vth": 65'))


def edit_name(file):
    del file["names"]
    file["names"] = np.bytes_('["other"]')


def add_dataset(file):
    file["layers/0001/u0"] = np.zeros(2, np.int32)


def remove_dataset(file):
    del file["layers/0001/v0"]


def rename_dataset(file):
    file.move("layers/0001/v0", "layers/0001/u0")


def edit_checksum(file):
    file.attrs["sha256"] = "0" * 64


def remove_checksum(file):
    del file.attrs["sha256"]


def write_what_is_no_text(file):
    del file["names"]
    file["names"] = np.bytes_(b"\xff\xfe")


class TestDamagedFile:
    def test_a_missing_file_says_so(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="network.h5"):
            load(tmp_path / "network.h5")

    def test_truncated_at_any_length_it_is_refused(self, saved):
        whole = saved.read_bytes()
        for length in {*range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 1}:
            saved.write_bytes(whole[:length])
            with pytest.raises(NetworkFileError, match="is damaged, or not the HDF5 file"):
                load(saved)

    def test_with_any_byte_changed_it_is_refused_or_the_same(self, saved):
        whole = saved.read_bytes()
        refused = 0
        for position in np.random.default_rng(0).integers(0, len(whole), 300):
            changed = bytearray(whole)
            changed[position] ^= 0xFF
            saved.write_bytes(changed)
            try:
                assert load(saved) == small(v0=[1, 2])
            except NetworkFileError:
                refused += 1
        assert refused > 30  # the rest fell on padding

    def test_text_is_refused(self, saved):
        saved.write_text("a network")
        with pytest.raises(NetworkFileError, match="is damaged, or not the HDF5 file"):
            load(saved)

    @pytest.mark.parametrize("attribute", [None, "keras", np.arange(3), 1.5])
    def test_foreign_hdf5_is_refused(self, tmp_path, attribute):
        path = tmp_path / "model.h5"
        with h5py.File(path, "w") as file:
            file["weights"] = np.arange(3.0)
            file["text"] = b"\xff\xfe"
            if attribute is not None:
                file.attrs["format"] = attribute
        with pytest.raises(NetworkFileError, match="not one that Network.save wrote"):
            load(path)

    def test_a_newer_version_asks_for_a_newer_release(self, saved):
        with h5py.File(saved, "a") as file:
            file.attrs["version"] = 2
        with pytest.raises(NetworkFileError, match="version 2, this release reads version 1"):
            load(saved)

    @pytest.mark.parametrize(
        "edit",
        [
            edit_weight,
            edit_type,
            edit_scalar,
            edit_name,
            add_dataset,
            remove_dataset,
            rename_dataset,
            edit_checksum,
            remove_checksum,
            write_what_is_no_text,
        ],
    )
    def test_an_edited_file_is_refused(self, saved, edit):
        with h5py.File(saved, "a") as file:
            edit(file)
        with pytest.raises(NetworkFileError):
            load(saved)

    def test_a_small_file_that_declares_much_is_refused_unread(self, saved):
        with h5py.File(saved, "a") as file:
            del file["layers/0000/weights"]
            file.create_dataset("layers/0000/weights", (1 << 20, 1 << 20), "i2", chunks=(64, 64))
        assert saved.stat().st_size < 1 << 16
        with pytest.raises(NetworkFileError, match="layers/0000/weights it holds more than 1024 M"):
            load(saved)

    @pytest.mark.parametrize(
        "groups, message",
        [
            (["/".join(["deep"] * 2000)], "its groups are more than 32 deep"),
            ([f"wide/{i}" for i in range(80)], "it has more than 60 groups and datasets"),
        ],
    )
    def test_groups_without_end_are_refused_at_once(self, saved, groups, message, monkeypatch):
        monkeypatch.setattr(hdf5, "MOST", 60)
        with h5py.File(saved, "a", libver="latest") as file:
            for group in groups:
                file.create_group(group)
        with pytest.raises(NetworkFileError, match=message):
            load(saved)

    @pytest.mark.parametrize(
        "key, value",
        [
            ("names", "[" * 100_000 + "]" * 100_000),
            ("names", "[1]"),
            ("input_shape", '["a", null]'),
            ("input_shape", "[0, null]"),
        ],
    )
    def test_what_was_written_to_mislead(self, key, value):
        labels, content = stored(small())
        content[key] = value
        labels["sha256"] = _digest(content)
        with pytest.raises(NetworkFileError, match="a file does not hold a network"):
            restored(labels, content, "a file")

    def test_a_file_that_leads_to_another_is_refused(self, saved):
        with h5py.File(saved, "a") as file:
            file["layers/0002"] = h5py.ExternalLink("other.h5", "/")
        with pytest.raises(NetworkFileError, match="layers/0002 is a link"):
            load(saved)


def test_networks_load_and_run_without_keras_tensorflow_or_lava(tmp_path):
    small().save(tmp_path / "network.h5")
    code = f"""
import sys, numpy, lava_export
network = lava_export.load({str(tmp_path / "network.h5")!r})
network.predict(numpy.ones((1, 3, 2)))
print(sorted({{"keras", "tensorflow", "lava", "keras_spiking_rnn"}} & set(sys.modules)))
"""
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert run.stdout.strip() == "[]"


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    import lava_export

    with pytest.raises(AttributeError, match="no attribute 'exports'"):
        lava_export.exports  # noqa: B018
