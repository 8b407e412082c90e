"""A backbone behind torch.nn.LSTM's interface gives what the LSTM gives, packed sequences included."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from multiscale import HMLSTM, Recurrent, StackedRNN
from multiscale.checks import InvalidInput
from tests.conftest import MODELS, backbone

LENGTHS = torch.tensor([4, 7, 1, 7, 3])


def test_padded_sequences_come_out_as_torchs_lstm_packs_them():
    torch.manual_seed(0)
    ours = StackedRNN(3, 5, 2).double()
    theirs = next(module for module in ours.modules() if isinstance(module, nn.LSTM))
    x = torch.randn(5, 7, 3, dtype=torch.float64)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    layers = [module for module in ours.modules() if isinstance(module, nn.LSTM)]
    for layer in layers:
        packed, (last, cell) = layer(packed)
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    output, state = Recurrent(ours, levels="top")(x, lengths=LENGTHS)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    top = [leaf[-1] if leaf.dim() == 3 else leaf for leaf in flat(state)]
    assert any(torch.allclose(leaf, last[0], rtol=0, atol=1e-12) for leaf in top)
    assert any(torch.allclose(leaf, cell[0], rtol=0, atol=1e-12) for leaf in top)
    assert theirs.batch_first


def flat(state) -> list[torch.Tensor]:
    return [state] if isinstance(state, torch.Tensor) else [leaf for part in state for leaf in flat(part)]


@pytest.mark.parametrize("model", MODELS)
def test_each_sequence_of_a_padded_batch_is_run_to_its_own_end(model):
    network, x = backbone(model).eval(), torch.randn(3, 6, 5, dtype=torch.float64)
    lengths = torch.tensor([2, 6, 5])
    output, state = Recurrent(network)(x, lengths=lengths)
    for b, length in enumerate(lengths.tolist()):
        alone, last = Recurrent(network)(x[b : b + 1, :length])
        torch.testing.assert_close(output[b, :length], alone[0], rtol=0, atol=1e-10)
        assert not output[b, length:].any()
        for found, wanted in zip(flat(state), flat(last), strict=True):
            torch.testing.assert_close(found[b], wanted[0], rtol=0, atol=1e-10)


def test_time_may_come_first_and_the_state_goes_back_in():
    network = HMLSTM(3, [4, 6])
    x = torch.randn(2, 8, 3)
    whole, _ = Recurrent(network)(x)
    layer = Recurrent(network, batch_first=False)
    first, state = layer(x[:, :5].transpose(0, 1))
    second, _ = layer(x[:, 5:].transpose(0, 1), state)
    torch.testing.assert_close(torch.cat([first, second]).transpose(0, 1), whole)
    assert layer.output_size == 10 == whole.size(2)


@pytest.mark.parametrize("lengths", [[0, 3], [3, 9], [3]])
def test_lengths_that_are_none_are_refused(lengths):
    with pytest.raises(InvalidInput, match="lengths must be 2 whole numbers from 1 to the 8 steps of x; got"):
        Recurrent(HMLSTM(3, [4, 6]))(torch.randn(2, 8, 3), lengths=torch.tensor(lengths))
