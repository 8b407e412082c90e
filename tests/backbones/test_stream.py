"""A stream reads one step at a time what the network reads at once, and does not touch what rests."""

import gc

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from multiscale import Chunking, ClockworkRNN, HistoryCompressor, SkipRNN, StackedRNN
from multiscale.backbones.hard_clock import HardClockRNN
from multiscale.checks import InvalidInput
from multiscale.nn.layout import by_columns, lay_by_columns
from multiscale.testing import a_stream_is_forward_one_step_at_a_time as law
from multiscale.testing import check_backbone
from tests.conftest import backbone
from tests.helpers.hmlstm import force, network, state_of

HMLSTM_OPTIONS = [
    {"copy_boundary": "hold"},
    {"copy_boundary": "zero", "boundary": "sample"},
    {"nested": True, "boundary_source": "hidden"},
    {"boundary_source": "hidden"},
    {"boundary_source": "change"},
    {"layer_norm": True},
    {"top_down": False, "boundary_bias": False},
    {"flush": False},
    {"flush": False, "layer_norm": True, "copy": False},
    {"copy": False},
    {"boundary": "soft"},
    {"zoneout": 0.2, "zoneout_c": 0.3},
]


@pytest.mark.parametrize("options", HMLSTM_OPTIONS, ids=str)
def test_every_option_of_an_hmlstm_streams(options):
    net = network(4, 3, 5, **options)
    trace = net.eval()(3 * torch.randn(1, 40, 5, dtype=torch.float64), trace=True).trace
    assert 0 < trace.boundary[0, :, 0].sum() < 40
    check_backbone(lambda input_size: network(4, 3, 5, **options), [law])


@pytest.mark.parametrize("sizes", [(4,), (1, 3)])
def test_an_hmlstm_of_few_layers_streams(sizes):
    check_backbone(lambda input_size: network(*sizes), [law])


CLOCKWORKS = [
    {"cell": "lstm", "layer_norm": True},
    {"cell": "gru", "links": "fast_to_slow", "input_to": "fastest"},
    {"cell": "gru", "layer_norm": True, "links": "full"},
    {"links": "neighbours", "origin": 5},
    {"clock": "random"},
    {"links": "learned"},
    {"cell": "lstm", "zoneout": 0.2, "zoneout_c": 0.3},
]


@pytest.mark.parametrize("options", CLOCKWORKS, ids=str)
def test_every_option_of_a_clockwork_streams(options):
    check_backbone(lambda d: ClockworkRNN(d, [4, 2, 3, 5], [1, 2, 3, 6], **options), [law])


@pytest.mark.parametrize("connectivity", ["slow_to_fast", "none"])
def test_clocks_in_any_order_stream(connectivity):
    check_backbone(lambda d: HardClockRNN(d, [3, 1, 4], [5, 2, 5], [4, 0, 1], connectivity), [law])


@pytest.mark.parametrize("zoneout", [0.0, 0.3])
def test_networks_that_skip_stream(zoneout):
    check_backbone(lambda d: SkipRNN(d, [4, 3], 2, cell="gru", update_bias=-2.0, zoneout=zoneout), [law])
    check_backbone(lambda d: HistoryCompressor(d, [4, 3], 2, zoneout=zoneout, zoneout_c=zoneout), [law])
    check_backbone(lambda d: Chunking(d, [4, 3, 4], zoneout=zoneout, zoneout_c=zoneout), [law])


def macs(stream, x_t, state=None) -> int:
    """Multiply-accumulates of a step's products of matrices, from a state if given."""
    stream.state = stream.state if state is None else state
    with FlopCounterMode(display=False) as counter:
        stream(x_t)
    return counter.get_total_flops() // 2


def test_an_hmlstm_makes_the_products_that_its_boundaries_ask_for():
    net, x_t = network(4, 3, 5), torch.randn(1, 5, dtype=torch.float64)
    force(net, 0, fire=False)
    force(net, 1, fire=False)
    stream = net.stream()
    assert macs(stream, x_t) == 16 * (4 + 5)  # UPDATE of the first layer, on itself and the input; the others copy
    assert stream.trace.update.tolist() == [[1, 0, 0]]
    flush = 12 * (4 + 5 + 3)  # without the forget gate, on the layer above as well
    assert macs(stream, x_t, state_of(net, 1, [1.0, 0.0])) == flush
    assert macs(stream, x_t, state_of(net, 1, [0.0, 1.0])) == 16 * (4 + 5) + 9 * (3 + 5)
    force(net, 0, fire=True)
    assert macs(net.stream(), x_t) == 16 * (4 + 5) + 12 * (3 + 4)


def test_a_clockwork_makes_the_products_of_the_modules_that_tick():
    stream, x_t = ClockworkRNN(5, [2, 3], [1, 4], origin=3).stream(), torch.randn(1, 5)
    assert [macs(stream, x_t) for _ in range(3)] == [2 * (5 + 5), 2 * (5 + 5) + 3 * (5 + 3), 2 * (5 + 5)]


def test_a_learned_clock_that_is_hardened_makes_the_products_of_its_ticks():
    stream, x_t = HardClockRNN(5, [2, 3], [1, 2], [0, 1]).stream(), torch.randn(1, 5)
    assert [macs(stream, x_t) for _ in range(3)] == [2 * (5 + 5), 5 * (5 + 5), 2 * (5 + 5)]


def test_a_stack_that_copies_makes_no_product_but_the_one_that_decides():
    stream = SkipRNN(5, 4, update_bias=-9.0).stream()
    after_an_update = (*stream.state[:-1], (torch.ones(1, 1), torch.ones(1, 1)))
    assert macs(stream, torch.randn(1, 5), after_an_update) == 4
    assert stream.trace.update.item() == 0


def test_a_level_that_gets_no_input_makes_no_product():
    stream, x_t = HistoryCompressor(5, 4, threshold=1e9).stream(), torch.randn(1, 5)
    first = 16 * (5 + 4) + 5 * 4  # and the prediction
    assert [macs(stream, x_t) for _ in range(2)] == [first + 16 * (6 + 4), first]


def test_the_main_network_makes_products_where_a_chunk_begins():
    stream, mains = Chunking(5, 4).stream(), set()
    for x_t in 3 * torch.randn(20, 1, 5):
        count = macs(stream, x_t)
        main = stream.trace.update[0, 1].item()
        assert count == 16 * (5 + 4) + 2 * 16 + 16 + 16 * (4 + 4) * (1 + main)
        mains.add(main)
    assert mains == {0, 1}


def test_a_stream_goes_on_where_a_sequence_ended_and_a_sequence_where_a_stream_did():
    net = network(4, 3, 5).eval()
    x = torch.randn(1, 12, 5, dtype=torch.float64)
    whole, stream = net(x), net.stream()
    stream.state = net(x[:, :4]).state
    for t in range(4, 8):
        levels = stream(x[:, t])
    torch.testing.assert_close(levels[0], whole.levels[0][:, 7])
    torch.testing.assert_close(net(x[:, 8:], stream.state).levels[2], whole.levels[2][:, 8:])


def test_what_a_stream_returned_may_be_trained_on_and_is_not_written_to():
    head = torch.nn.Linear(13, 1).double()
    stream = backbone("clockwork").stream()
    first = stream(torch.randn(1, 5, dtype=torch.float64))
    kept = [level.clone() for level in first]
    stream(torch.randn(1, 5, dtype=torch.float64))
    assert all(map(torch.equal, first, kept))
    head(torch.cat(first, 1)).sum().backward()
    assert head.weight.grad is not None


def test_nothing_grows_with_the_steps():
    streams = [backbone(model).stream() for model in ("hmlstm", "clockwork", "stacked_lstm")]
    x_t, counts = torch.randn(1, 5, dtype=torch.float64), []
    for _ in range(2):
        for stream in streams:
            for _ in range(50):
                stream(x_t)
        counts.append(sum(type(found) is torch.Tensor for found in gc.get_objects()))
    assert counts[0] == counts[1]


def test_wrong_sizes_are_refused_by_name():
    net = StackedRNN(5, 4)
    with pytest.raises(InvalidInput, match="batch_size must be a whole number of at least 1; got 0"):
        net.stream(0)
    for wrong in (torch.zeros(5), torch.zeros(2, 5), torch.zeros(1, 6), torch.zeros(1, 1, 5)):
        with pytest.raises(InvalidInput, match=r"x_t must be \[1, 5\]; got \["):
            net.stream()(wrong)


def test_a_matrix_by_columns_is_the_same_matrix():
    weight = torch.randn(6, 4)
    assert torch.equal(by_columns(weight), weight)
    assert by_columns(weight).stride() == (1, 6)
    layer = torch.nn.Linear(4, 6)
    lay_by_columns(layer)
    assert layer.weight.stride() == (1, 6)
    assert layer.weight.requires_grad
