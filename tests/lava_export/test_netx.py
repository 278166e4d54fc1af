"""netx files: what they hold, what is refused or lost, and files that are not to be trusted."""

import warnings

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lava_export import (
    LIF,
    ConversionError,
    Dense,
    LossWarning,
    Network,
    NetxFileError,
    SpikingLSTM,
    from_netx,
    host,
)


def some_spikes(network, batch=3, steps=12):
    generator = np.random.default_rng(0)
    return (generator.random((batch, steps, network.inputs)) < 0.4).astype(np.int8)


def one_layer(weights=((60, 20), (-40, 100)), exponent=0, recurrent=None, **registers):
    registers = {"dv": 400, "vth": 64, "bias_mant": [3, -2], "bias_exp": 6, **registers}
    return Network([Dense(weights, exponent), LIF(**registers, recurrent=recurrent)])


@st.composite
def expressible(draw):
    """Networks that netx holds without a loss."""
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    layers, inputs = [], draw(st.integers(1, 6))
    for _ in range(draw(st.integers(1, 3))):
        units = draw(st.integers(1, 6))
        shape = draw(st.sampled_from([(), (units,)]))

        def weights(columns, units=units):
            values = 2 * generator.integers(-100, 100, (units, columns))
            values[0, 0] = 2 * draw(st.integers(1, 127))
            return values

        recurrent = Dense(weights(units)) if draw(st.booleans()) else None
        lif = LIF(
            du=generator.integers(0, 4096, shape),
            dv=generator.integers(0, 4096, shape),
            vth=generator.integers(0, 400, shape),
            bias_mant=generator.integers(-50, 50, shape),
            bias_exp=draw(st.integers(6, 7)),
            recurrent=recurrent,
        )
        layers += [Dense(weights(inputs)), lif]
        inputs = units
    return Network(layers)


@given(network=expressible())
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_read_back(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("netx") / "a.net"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written = network.to_netx(path)
    assert from_netx(path).layers == written.layers
    spikes = some_spikes(network)
    for record in ("u", "v"):
        for a, b in zip(
            network.run(spikes, record)[1][record],
            written.run(spikes, record)[1][record],
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    again = from_netx(path).to_netx(path, overwrite=True)
    assert again == from_netx(path)


class TestFile:
    def test_layout(self, tmp_path):
        """What lava-dl reads, key by key."""
        recurrent = Dense([[2, 4], [6, -8]])
        network = one_layer(du=4095, recurrent=recurrent, vth=[60, 70])
        network.to_netx(tmp_path / "a.net")
        with h5py.File(tmp_path / "a.net") as file:
            assert sorted(file["layer"]) == ["0", "1"]
            assert file["layer/0/type"][:].tolist() == [b"input"]
            assert file["layer/0/shape"][:].tolist() == [2]
            layer = file["layer/1"]
            assert layer["type"].dtype == "S10"
            assert layer["type"][:].tolist() == [b"dense_rec"]
            assert layer["shape"][:].tolist() == [2]
            np.testing.assert_array_equal(layer["weight"], [[60, 20], [-40, 100]])
            np.testing.assert_array_equal(layer["weight_rec"], recurrent.weights)
            assert layer["bias"][:].tolist() == [3, -2]
            neuron = layer["neuron"]
            assert neuron["type"][:].tolist() == [b"CUBA"]
            assert neuron["iDecay"][()] == 4096  # lava-dl subtracts 1
            assert neuron["vDecay"][()] == 400
            assert neuron["vThMant"][:].tolist() == [60, 70]

    def test_one_layer_without_recurrence_is_dense(self, tmp_path):
        one_layer().to_netx(tmp_path / "a.net")
        with h5py.File(tmp_path / "a.net") as file:
            assert file["layer/1/type"][:].tolist() == [b"dense"]

    def test_exponents_and_bits_go_into_the_weights(self, tmp_path):
        network = Network(
            [
                Dense([[60, 21], [-40, 100]], exponent=-2, num_weight_bits=7),
                LIF(vth=9),
                Dense([[3, 5]], exponent=2),
                LIF(vth=9),
            ]
        )
        written = network.to_netx(tmp_path / "a.net")
        first, second = written.layers[::2]
        np.testing.assert_array_equal(first.product()(np.eye(2, dtype=int)), [[15, -10], [5, 25]])
        assert second == Dense([[12, 20]])
        spikes = some_spikes(network)
        np.testing.assert_array_equal(network.run(spikes), written.run(spikes))

    def test_the_host_keeps_encoder_and_head(self, tmp_path):
        network = Network(one_layer().layers, [host.Rescale(2.0)], [host.TimeSum()], ["a"])
        written = network.to_netx(tmp_path / "a.net")
        assert (written.encoder, written.head, written.names) == ((), (), ("a",))

    def test_a_file_is_only_replaced_on_request(self, tmp_path):
        path = tmp_path / "a.net"
        one_layer().to_netx(path)
        before = path.read_bytes()
        with pytest.raises(FileExistsError, match="overwrite=True"):
            one_layer(dv=3).to_netx(path)
        with pytest.raises(ConversionError):
            one_layer(v0=3).to_netx(path, overwrite=True)
        assert path.read_bytes() == before
        one_layer(dv=3).to_netx(path, overwrite=True)
        assert from_netx(path).layers[1].dv == 3


class TestLosses:
    @pytest.mark.parametrize(
        "network, loss",
        [
            (one_layer(v0=640), r"the membrane starts at 0 instead of v0, .* 15.62% of the thresh"),
            (one_layer(u0=64), "the current starts at 0 instead of u0"),
            (one_layer(bias_mant=[3, 1], bias_exp=5), "biases are rounded .* by up to 0.78% of"),
            (one_layer([[60, 22], [-40, 30]], -2), r"divided by 2\*\*-4, and decays round"),
            (one_layer([[200, 22], [-40, 30]], 2, vth=65), r"2\*\*2, .*; .*thresholds are rounded"),
            (
                one_layer([[200, 22], [-40, 30]], 0, Dense([[2, 4], [6, 4]], -3)),
                r"weights are rounded by up to 0.75",
            ),
        ],
    )
    def test_each_is_named_and_must_be_allowed(self, network, loss, tmp_path):
        path = tmp_path / "a.net"
        with pytest.raises(ConversionError, match=rf"layer 'layer_0': .*{loss}.*allow_lossy=True"):
            network.to_netx(path)
        assert not path.exists()
        with pytest.warns(LossWarning, match=loss) as caught:
            written = network.to_netx(path, allow_lossy=True)
        assert len(caught) == 1 and caught[0].filename == __file__
        assert from_netx(path).layers == written.layers

    def test_what_is_left_is_nearly_the_same_network(self, tmp_path):
        generator = np.random.default_rng(1)
        network = Network(
            [
                Dense(2 * generator.integers(-60, 90, (30, 40)), 4),
                LIF(
                    dv=generator.integers(100, 800, 30),
                    vth=5000,
                    bias_mant=generator.integers(-4000, 4000, 30),
                    bias_exp=3,
                    v0=generator.integers(-4000, 4000, 30),
                ),
            ]
        )
        with pytest.warns(LossWarning):
            written = network.to_netx(tmp_path / "a.net", allow_lossy=True)
        spikes = some_spikes(network, 20, 30)
        exact = network.run(spikes)
        changed = (exact != written.run(spikes)).sum() / exact.sum()
        assert 0 < changed < 0.05

    def test_scaling_keeps_as_many_bits_as_fit(self, tmp_path):
        with pytest.warns(LossWarning):
            written = one_layer([[13, 2], [-4, 10]], -3, vth=4).to_netx(tmp_path / "a", False, True)
        assert np.abs(written.layers[0].weights).max() == 12 << 4  # 13 is computed with as 12
        assert written.layers[1].vth == 4 << 7


class TestRefused:
    def test_other_units(self, tmp_path):
        network = Network([Dense(np.ones((8, 3), int)), SpikingLSTM()])
        with pytest.raises(ConversionError, match="'layer_0': netx holds .* LIF .* SpikingLSTM"):
            network.to_netx(tmp_path / "a.net", allow_lossy=True)

    def test_no_weights(self, tmp_path):
        with pytest.raises(ConversionError, match="'layer_0': all its weights are 0"):
            one_layer([[0, 0], [0, 0]]).to_netx(tmp_path / "a.net", allow_lossy=True)

    @pytest.mark.parametrize("weights", [[[-64, -3]] * 2, [[0, -128]] * 2, [[-1, 0]] * 2])
    def test_matrices_that_lava_dl_misreads(self, weights, tmp_path):
        with pytest.raises(ConversionError, match="misreads matrices without positive weights"):
            one_layer(weights).to_netx(tmp_path / "a.net", allow_lossy=True)

    def test_recurrent_pairs_that_lava_dl_misreads_are_rounded(self, tmp_path):
        network = one_layer([[200, 20], [-40, 100]], recurrent=Dense([[1, 3], [5, 7]]))
        with pytest.warns(LossWarning, match=r"weights are rounded by up to 1\.$"):
            written = network.to_netx(tmp_path / "a.net", allow_lossy=True)
        np.testing.assert_array_equal(written.layers[1].recurrent.weights, [[0, 4], [4, 8]])


def edit(path, key, value=None):
    with h5py.File(path, "r+") as file:
        if key in file:
            del file[key]
        if value is not None:
            file[key] = value


class TestFilesOfOthers:
    @pytest.fixture
    def path(self, tmp_path):
        one_layer(recurrent=Dense([[2, 4], [6, -8]])).to_netx(tmp_path / "a.net")
        return tmp_path / "a.net"

    def test_float_datasets_of_whole_numbers_are_read(self, path):
        expected = from_netx(path)
        for key in ("weight", "weight_rec", "bias", "neuron/vThMant", "neuron/vDecay"):
            with h5py.File(path) as file:
                value = file[f"layer/1/{key}"][()]
            edit(path, f"layer/1/{key}", np.asarray(value, np.float32))
        assert from_netx(path) == expected

    def test_without_input_layer_bias_and_shape(self, path):
        for key in ("layer/1/bias", "layer/1/shape", "layer/0/shape", "layer/1/inFeatures"):
            edit(path, key)
        assert from_netx(path).layers[1].bias_mant == 0

    @pytest.mark.parametrize(
        "key, value, message",
        [
            ("layer", None, "no group 'layer'"),
            ("layer", 3, "no group 'layer'"),
            ("layer/7/type", np.array([b"dense"]), "has 3 layers, but no layer 2"),
            ("layer/1/type", None, "layer 1 has no type"),
            ("layer/1/type", 3, "type is no text"),
            ("layer/1/type", np.array([b"conv"]), r"layer 1 \(conv\) cannot be read"),
            ("layer/1/type", np.array([b"newer"]), r"layer 1 \(newer\) cannot be read"),
            ("layer/1/type", np.array([b"\xff\xfe"]), "is damaged"),
            ("layer/1", None, "no dense layer"),
            ("layer/0/neuron/type", b"CUBA", "units of its own"),
            ("layer/0/shape", [3], "takes 2 inputs, but what is before it gives 3"),
            ("layer/1/shape", [3], "has the shape 3, but weights for 2 units"),
            ("layer/1/delay", [1, 2], "has synaptic delays"),
            ("layer/1/weight", None, "has no weight"),
            ("layer/1/weight", [1, 2], "weight has 1 dimensions"),
            ("layer/1/weight", [[0.5, 1], [1, 2]], "other than whole numbers"),
            ("layer/1/weight", [[np.nan, 1], [1, 2]], "other than whole numbers"),
            ("layer/1/weight", [[np.inf, 1], [1, 2]], "other than whole numbers"),
            ("layer/1/weight", [[2**40, 1], [1, 2]], "other than whole numbers"),
            ("layer/1/weight", [[True, False]] * 2, "holds no numbers"),
            ("layer/1/weight", np.zeros((0, 2)), "holds no numbers"),
            ("layer/1/weight", [[300, -1], [1, 2]], "computes with other weights"),
            ("layer/1/weight", [[201, -1], [1, 2]], "computes with other weights .* 9 bits"),
            ("layer/1/weight_rec", None, "has no weight_rec"),
            ("layer/1/weight_rec", [[1, 2]], r"weight_rec has the shape \(1, 2\)"),
            ("layer/1/bias", [1, 2, 3], "bias has 3 values for 2 units"),
            ("layer/1/bias", [5000, 0], r"bias_mant must be in \[-4096, 4095\]"),
            ("layer/1/neuron", None, "has no neuron"),
            ("layer/1/neuron/type", b"RF", "units of type RF"),
            ("layer/1/neuron/vThMant", None, "has no vThMant"),
            ("layer/1/neuron/vThMant", -1, r"LIF.vth must be in"),
            ("layer/1/neuron/iDecay", 0, r"LIF.du must be in .*du is iDecay - 1"),
            ("layer/1/neuron/vDecay", 4096, r"LIF.dv must be in"),
            ("layer/1/neuron/vDecay", [1, 2, 3], "vDecay has 3 values for 2 units"),
        ],
    )
    def test_each_fault_is_one_clear_error(self, path, key, value, message):
        edit(path, key, value)
        with pytest.raises(NetxFileError, match=message) as caught:
            from_netx(path)
        assert str(caught.value).startswith(str(path))

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            from_netx(tmp_path / "none.net")

    @pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
    def test_truncated_file(self, path, share):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(NetxFileError, match="is damaged"):
            from_netx(path)

    def test_file_that_is_no_hdf5(self, path):
        path.write_text("layer: 1")
        with pytest.raises(NetxFileError, match="is damaged"):
            from_netx(path)

    def test_huge_matrix_is_not_allocated(self, path):
        edit(path, "layer/1/weight")
        with h5py.File(path, "r+") as file:
            file.create_dataset("layer/1/weight", (1 << 20, 1 << 20), "i4", chunks=(256, 256))
        assert path.stat().st_size < 1 << 16
        with pytest.raises(NetxFileError, match="layer/1/weight it holds more than 1024 MiB"):
            from_netx(path)

    def test_links_are_not_followed(self, path, tmp_path):
        (tmp_path / "other.net").write_bytes(path.read_bytes())
        for link in (h5py.ExternalLink("other.net", "layer/1"), h5py.SoftLink("/layer/0")):
            edit(path, "layer/2")
            with h5py.File(path, "r+") as file:
                file["layer/2"] = link
            with pytest.raises(NetxFileError, match="layer/2 is a link"):
                from_netx(path)

    def test_groups_within_themselves_are_refused(self, path):
        with h5py.File(path, "r+") as file:
            file["layer/1/neuron/layer"] = file["layer"]
        with pytest.raises(NetxFileError, match="stands in two places"):
            from_netx(path)

    def test_data_in_other_files_is_refused(self, path, tmp_path):
        edit(path, "layer/1/weight")
        with h5py.File(path, "r+") as file:
            file.create_dataset(
                "layer/1/weight", (2, 2), "u1", external=[(str(path), 0, h5py.h5f.UNLIMITED)]
            )
        with pytest.raises(NetxFileError, match="in another file"):
            from_netx(path)
