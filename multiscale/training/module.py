"""The one LightningModule: encoder -> backbone -> head -> loss + weight * penalty, dropout before and behind it."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from multiscale.backbones.base import Backbone, BackboneOutput, State, detach
from multiscale.backbones.bidirectional import flip, join
from multiscale.data.batch import Batch
from multiscale.data.facts import Facts
from multiscale.nn.dropout import Locked
from multiscale.training.checkpoint.lightning_internals import is_logging_step
from multiscale.training.measure import Measure
from multiscale.training.sampling import flip_coins, sample_inputs
from multiscale.training.tally import Tally
from multiscale.training.tasks.base import Task

IMPLIED = ("copy", "flush")  # rates that make no curve of their own: 1 - update, and boundary a step later


class SequenceModule(pl.LightningModule):
    """Trains any backbone with any head on any task.

    On contiguous streams the state goes from chunk to chunk, detached, and starts anew with every epoch of every split:
    truncated back-propagation through time. Where chunks overlap, it is the state that the next one begins with.
    Separate sequences each begin with the initial state.

    Args:
        encoder: ``Batch.inputs`` to [B, T, D].
        backbone: [B, T, D] to L levels.
        head: L levels to [B, T, output_size], or [B, 1, output_size] where the task reads one step only.
        task: what is read out, loss and metrics.
        optimizer: parameters to an optimizer.
        scheduler: optimizer to a learning-rate schedule; None, the rate stays.
        interval: ``epoch`` or ``step``, after which it steps; one that waits for ``task.monitor``, after a validation.
        reverse: a second backbone that reads every sequence from its end, if the task reads in both directions.
        streams: the batches are chunks of contiguous streams.
    """

    def __init__(
        self,
        encoder: nn.Module,
        backbone: Backbone,
        head: nn.Module,
        task: Task,
        optimizer: Callable[..., Optimizer] = torch.optim.Adam,
        scheduler: Callable[[Optimizer], Any] | None = None,
        interval: str = "epoch",
        reverse: Backbone | None = None,
        streams: bool = True,
    ) -> None:
        super().__init__()
        self.encoder, self.backbone, self.head, self.task = encoder, backbone, head, task
        self.drop_input, self.drop_output = (Locked(rate) for rate in task.dropout)
        self.optimizer, self.scheduler, self.interval = optimizer, scheduler, interval
        self.reverse, self.streams = reverse, streams
        self.val_tally, self.test_tally = (Tally(self.level_sizes, task.measured) for _ in range(2))
        self.carried: dict[str, State | None] = {}
        self.last_loss = torch.zeros(())  # of the last training batch, detached
        self.processes = 1  # that train it together; `setup` asks the trainer for this and the next
        self.epochs_a_validation = 1
        self.epsilon = 1.0  # of the present training step: the probability that an input is the true one
        self.tracing = True  # the present training step's updates are logged
        self._before: State | None = None  # what the last training batch began with
        self.facts: Facts | None = None  # of the data it was built for
        self.recipe: dict[str, Any] = {}  # what rebuilds this module from its checkpoint

    @property
    def level_names(self) -> tuple[str, ...]:
        """Names of all levels: the backbone's, then those of the one that reads backwards."""
        back = self.reverse.level_names if self.reverse else ()
        return self.backbone.level_names + tuple(f"{name}, backwards" for name in back)

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Units of all levels, in the order of ``level_names``."""
        return self.backbone.level_sizes + (self.reverse.level_sizes if self.reverse else ())

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        *,
        mask: Tensor | None = None,
        trace: bool = False,
        carry: int | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, BackboneOutput]:
        """What the head makes of ``inputs`` [B, T] or [B, T, D], with what the backbone returned.

        ``mask`` [B, T] tells the real steps; without it, all are. ``carry``, ``reset``: as for
        :meth:`Backbone.forward`.
        """
        mask = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device) if mask is None else mask
        x = self.drop_input(self.encoder(inputs))
        hidden = self.backbone(x, state, trace=trace, carry=carry, reset=reset)
        if self.reverse is not None:
            hidden = join(hidden, self.reverse(flip(x, mask), trace=trace), mask)
        return self.head([self.drop_output(self.task.read(level, mask)) for level in hidden.levels]), hidden

    def setup(self, stage: str) -> None:
        self.processes = self.trainer.world_size
        self.epochs_a_validation = self.trainer.check_val_every_n_epoch or 1

    def _read(self, split: str, batch: Batch, trace: bool = True) -> tuple[Tensor, BackboneOutput]:
        """(the head's output, the backbone's) of the next batch of a split; carries the state of streams on."""
        carry = max(batch.inputs.size(1) - batch.overlap, 0)
        state = self.carried.get(split)
        outputs, hidden = self(batch.inputs, state, mask=batch.mask, trace=trace, carry=carry, reset=batch.reset)
        if self.streams:
            self.carried[split] = detach(hidden.state)
        return outputs, hidden

    def on_train_epoch_start(self) -> None:
        self.carried["train"] = None

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.tracing = is_logging_step(self.trainer)
        epoch = self.current_epoch + batch_idx / self.trainer.num_training_batches
        if self.task.sampling is not None:
            self.epsilon = self.task.sampling(epoch)
        self.backbone.anneal(epoch)
        if self.reverse is not None:
            self.reverse.anneal(epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self._before = self.carried.get("train")
        if self.epsilon < 1:
            network, due = (self.encoder, self.backbone, self.head), flip_coins(batch.inputs, self.epsilon)
            inputs = sample_inputs(network, self.task.draw, batch.inputs, self._before, due, batch.reset)
            batch = batch._replace(inputs=inputs)
        outputs, hidden = self._read("train", batch, self.tracing)
        measures = self.task.measure(outputs, batch)
        if self.tracing:
            assert hidden.trace is not None
            measures["updates"] = Measure((hidden.trace.update * batch.mask[..., None]).sum(), batch.mask.sum())
        means = {name: measure.mean for name, measure in self._over_processes(measures).items()}
        loss = means["loss"] + self.task.penalty_weight * hidden.penalty
        if hidden.steps is not None and (expected := self.task.expected_surprisal(outputs)) is not None:
            loss = loss + self.backbone.align(hidden.steps, expected, batch.mask)
        self.last_loss = loss.detach()
        detached = {name: mean.detach() for name, mean in means.items()}
        self._log_progress(detached, hidden.penalty.detach(), len(batch.inputs))
        return loss

    def backward(self, loss: Tensor) -> None:  # type: ignore[override]  # Lightning passes no more
        """The gradient of the loss, unless nothing is to have one."""
        if loss.requires_grad:
            loss.backward()

    def _over_processes(self, measures: dict[str, Measure]) -> dict[str, Measure]:
        """The same totals, over the mean weight of all processes: the mean of their means is then that of one batch."""
        if self.processes == 1:
            return measures
        weights = torch.stack([measure.weight.float() for measure in measures.values()])
        weights = self.trainer.strategy.reduce(weights, reduce_op="mean")
        return {name: Measure(m.total, w) for (name, m), w in zip(measures.items(), weights, strict=True)}

    def _log_progress(self, means: dict[str, Tensor], penalty: Tensor, batch_size: int) -> None:
        """Log how the training goes: the mean over processes, of which rank 0 writes."""
        means = {**means, "penalty": penalty}
        if self.processes > 1:
            values = self.trainer.strategy.reduce(torch.stack([m.float() for m in means.values()]), reduce_op="mean")
            means = dict(zip(means, values, strict=True))
        progress = {f"train/{name}": value for name, value in self.task.metrics(means).items()}
        self.log_dict(progress, prog_bar=True, batch_size=batch_size)
        self.log("train/penalty", means["penalty"], batch_size=batch_size)
        if self.task.sampling is not None:
            self.log("train/epsilon", self.epsilon, batch_size=batch_size)
        if "updates" in means:  # last, so that the order of the columns does not hang on which step was the first
            self.log("train/updates", means["updates"], prog_bar=True, batch_size=batch_size)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        for backbone in (self.backbone, self.reverse):
            for parameter in backbone.held() if backbone is not None else ():
                parameter.grad = None  # which no optimizer takes for a step, nor momentum or decay for one

    def forget_batch(self) -> None:
        """Go back to the state that the last training batch began with."""
        self.carried["train"] = self._before

    def on_validation_epoch_start(self) -> None:
        self.carried["val"] = None

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return self._evaluate("val", self.val_tally, batch)

    def on_validation_epoch_end(self) -> None:
        self._conclude("val", self.val_tally)

    def on_test_epoch_start(self) -> None:
        self.carried["test"] = None

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return self._evaluate("test", self.test_tally, batch)

    def on_test_epoch_end(self) -> None:
        self._conclude("test", self.test_tally)

    def _evaluate(self, split: str, tally: Tally, batch: Batch) -> dict[str, Any]:
        """Count a chunk; its trace, its surprisal and the entropy of its predictions are for callbacks."""
        outputs, hidden = self._read(split, batch)
        assert hidden.trace is not None
        tally.update(self.task.measure(outputs, batch), hidden.trace, batch.mask, fresh=not self.streams)
        surprisal, entropy = self.task.surprisal(outputs, batch), self.task.expected_surprisal(outputs)
        return {"trace": hidden.trace, "surprisal": surprisal, "entropy": entropy}

    def _conclude(self, split: str, tally: Tally) -> None:
        means, rates = tally.compute()
        tally.reset()
        metrics = {f"{split}/{name}": value for name, value in self.task.metrics(means).items()}
        self.log_dict(metrics, prog_bar=split == "val")
        log_traces(self, split, {"operations": rates.pop("operations")})
        for name, levels in rates.items():
            # A metric of one element comes back without its axis.
            told = {f"{name}_{level}": rate for level, rate in enumerate(levels.reshape(-1), 1)}
            log_traces(self, split, told, shown=name not in IMPLIED)

        if split == "val":
            for name, levels in self.backbone.measures().items():
                log_traces(self, split, {f"{name}_{level}": value for level, value in enumerate(levels, 1)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["recipe"] = self.recipe

    def configure_optimizers(self) -> Any:
        ends = [p for part in (self.encoder, self.head) for p in part.parameters()]
        groups = [{"params": ends}, *self.backbone.parameter_groups()]
        if self.reverse is not None:
            groups += self.reverse.parameter_groups()
        optimizer = self.optimizer([group for group in groups if group["params"]])
        if self.scheduler is None:
            return optimizer
        schedule = {"scheduler": self.scheduler(optimizer), "interval": self.interval}
        if isinstance(schedule["scheduler"], ReduceLROnPlateau):
            schedule |= {"monitor": self.task.monitor, "frequency": self.epochs_a_validation, "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a schedule; one that waits for a metric, after an epoch in which it was measured."""
        due = True
        if self.trainer.check_val_every_n_epoch is None and isinstance(every := self.trainer.val_check_batch, int):
            batches = int(self.trainer.num_training_batches)  # validations are counted over epochs
            due = (self.current_epoch + 1) * batches // every > self.current_epoch * batches // every
        if due or metric is None:
            super().lr_scheduler_step(scheduler, metric)


def log_traces(module: pl.LightningModule, split: str, values: Mapping[str, Any], shown: bool = True) -> None:
    """Log what a network did on a split: of the validation under ``trace/``, which makes curves if it is ``shown``; of
    the test under ``trace/test/``, which no logger is told: one number of the whole run, it stands in its summary."""
    where = "trace" if split == "val" else f"trace/{split}"
    module.log_dict({f"{where}/{name}": value for name, value in values.items()}, logger=shown and split == "val")
