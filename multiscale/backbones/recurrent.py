"""A backbone behind the interface of ``torch.nn.LSTM``."""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiscale.backbones.base import Backbone
from multiscale.backbones.pieces import choose_rows
from multiscale.backbones.values import State
from multiscale.checks import InvalidInput, one_of


class Recurrent(nn.Module):
    """``output, state = network(x, state, lengths)``, as of a recurrent layer of torch's.

    Args:
        backbone: what runs; ``penalty`` of its last call, to be added to a loss, is kept as ``self.penalty`` [].
        levels: the output is the slowest level (``top``) or all levels side by side (``all``).
        batch_first: x and output are [B, T, .]; else [T, B, .].

    Raises:
        InvalidInput: for an unknown word.
    """

    def __init__(self, backbone: Backbone, levels: str = "all", batch_first: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        self.levels = one_of("levels", levels, ("all", "top"))
        self.batch_first = batch_first
        self.output_size = sum(backbone.level_sizes) if levels == "all" else backbone.level_sizes[-1]
        self.penalty = torch.zeros(())

    def forward(
        self, x: Float[Tensor, "_ _ D"], state: State | None = None, lengths: Int[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "_ _ H"], State]:
        """The output, and the state after the last step of each sequence.

        With ``lengths``, of padded sequences, the output is 0 from the end of each on, and its state is that at its own
        end, as of a packed sequence; the batch is run in pieces between the ends.

        Raises:
            InvalidInput: for lengths that are not B whole numbers from 1 to T; else as the backbone.
        """
        x = x if self.batch_first else x.transpose(0, 1)
        if lengths is None:
            result = self.backbone(x, state)
            output, state, self.penalty = self._output(result.levels), result.state, result.penalty
        else:
            output, state = self._padded(x, state, lengths)
        return output if self.batch_first else output.transpose(0, 1), state

    def _output(self, levels: tuple[Tensor, ...]) -> Tensor:
        return torch.cat(levels, -1) if self.levels == "all" else levels[-1]

    def _padded(self, x: Tensor, state: State | None, lengths: Tensor) -> tuple[Tensor, State]:
        whole = not lengths.is_floating_point() and lengths.dtype != torch.bool and lengths.shape == x.shape[:1]
        if not whole or not bool(((lengths >= 1) & (lengths <= x.size(1))).all()):
            raise InvalidInput(
                f"lengths must be {len(x)} whole numbers from 1 to the {x.size(1)} steps of x; got {lengths.tolist()}."
            )
        lengths = lengths.to(x.device)
        ended: State = self.backbone.initial_state(len(x), x.device, x.dtype)
        outputs, self.penalty = [], x.new_zeros(())
        for start, stop in pairwise([0, *torch.unique(lengths).tolist()]):
            result = self.backbone(x[:, start:stop], state)
            state = result.state
            outputs.append(self._output(result.levels) * (lengths > start)[:, None, None])
            ended = choose_rows(lengths == stop, state, ended)
            self.penalty = self.penalty + result.penalty * (stop - start) / int(lengths.max())
        output = torch.cat(outputs, 1)
        return nn.functional.pad(output, (0, 0, 0, x.size(1) - output.size(1))), ended
