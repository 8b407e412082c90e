"""What trained networks reach: beyond a Markov model on a real text, near the truth on an artificial one."""

import math
from collections import Counter

import pytest
import pytorch_lightning as pl

from multiscale.config.compose import jobs
from multiscale.config.instantiate import make
from multiscale.training.build import build
from multiscale.training.loaders import Loaders
from tests.conftest import trainer

pytestmark = pytest.mark.slow


def trained(tmp_path, *words: str) -> tuple[float, pl.LightningDataModule]:
    """The test score of the best weights of a short training, and the data."""
    config = jobs(list(words))[0]
    pl.seed_everything(0, verbose=False)
    data = make(config, "data")
    data.setup()
    module = build(config, data.facts)
    run = trainer(tmp_path, max_epochs=config.trainer.max_epochs, gradient_clip_val=1.0)
    run.fit(module, datamodule=Loaders(data))
    return run.test(module, datamodule=Loaders(data), verbose=False)[0]["test/bpc"], data


def markov(train: list[int], test: list[int], symbols: int, order: int = 3) -> float:
    """Bits per symbol of a Markov model, each order smoothed by the one below (Witten and Bell 1991).

    p_k(x | c) = (n(c x) + u(c) p_{k-1}(x | c')) / (n(c) + u(c)) with u(c) the number of different symbols seen after
    context c, which without its first symbol is c'; below order 0 all symbols are alike.
    """
    follows: list[Counter] = [Counter() for _ in range(order + 1)]
    seen: list[Counter] = [Counter() for _ in range(order + 1)]
    kinds: list[Counter] = [Counter() for _ in range(order + 1)]
    for k in range(order + 1):
        for i in range(k, len(train)):
            context = tuple(train[i - k : i])
            kinds[k][context] += follows[k][context, train[i]] == 0
            follows[k][context, train[i]] += 1
            seen[k][context] += 1
    bits = 0.0
    whole = train[-order:] + test
    for i in range(order, len(whole)):
        share = 1 / symbols
        for k in range(order + 1):
            context = tuple(whole[i - k : i])
            if seen[k][context]:
                share = (follows[k][context, whole[i]] + kinds[k][context] * share) / (
                    seen[k][context] + kinds[k][context]
                )
        bits -= math.log2(share)
    return bits / len(test)


def test_the_markov_model_is_a_distribution():
    train = [0, 1, 2, 0, 1, 0, 2, 1, 0, 1, 2, 0]
    for end in ([0], [1, 2], [2, 2, 2]):
        # Bits of one more symbol after ``end``: the difference of two totals.
        before = markov(train, end, 3) * len(end)
        shares = [2 ** -(markov(train, [*end, x], 3) * (len(end) + 1) - before) for x in range(3)]
        assert sum(shares) == pytest.approx(1)


LANGUAGE = ["data=artificial_language", "data.batch_size=16"]
SHORT = ["data=python_docs", "data.batch_size=32", "trainer.max_epochs=3"]


@pytest.mark.parametrize("model", [["model=stacked_lstm"], ["model=hmlstm"]])
def test_a_trained_network_beats_a_markov_model_of_order_3(tmp_path, model):
    reached, data = trained(tmp_path, *SHORT, *model)
    train, test = (data.symbols(split).tolist() for split in ("train", "test"))
    assert reached < markov(train, test, data.facts.num_symbols)


@pytest.mark.parametrize(
    ("model", "epochs", "near"),
    [("stacked_lstm", 3, 1.15), ("hmlstm", 1, None), ("clockwork", 1, None), ("learned_clock", 1, None)],
)
def test_no_model_goes_below_the_true_entropy_and_the_lstm_comes_within_15_percent(tmp_path, model, epochs, near):
    reached, data = trained(tmp_path, *LANGUAGE, f"model={model}", f"trainer.max_epochs={epochs}")
    rate, realised = data.facts.references.values()
    # Not even the generator itself scores below the information of the very text that it wrote.
    assert reached > min(rate, realised)
    if near is not None:
        assert reached < near * rate
