"""The loop over time and layers in Python: one product, then the gates, torch's or those in C++."""

from collections.abc import Callable, Sequence

from torch import Tensor

from multiscale.kernels.hmlstm import gates, native
from multiscale.kernels.hmlstm.gates import Gradients, Layer
from multiscale.kernels.hmlstm.norms import Normalised
from multiscale.kernels.hmlstm.products import Given, Joint, LayerProducts, LayerWeights, Plan
from multiscale.kernels.workspace import Workspace

Step = Callable[[int, Tensor], None]


class Stepped:
    """One sequence over the buffers of its layers; ``keep``: whether a backward pass will follow."""

    def __init__(
        self, layers: Sequence[Layer], weights: Sequence[LayerWeights], plan: Plan, keep: bool, workspace: Workspace
    ) -> None:
        self.layers, self.plan = layers, plan
        self.products: list[LayerProducts]
        if plan.options.layer_norm:
            self.products = [Normalised(layers, l, w, plan, keep, workspace) for l, w in enumerate(weights)]
        else:
            self.products = [Joint(layers, l, w, plan, keep) for l, w in enumerate(weights)]

    def forward(self) -> None:
        pairs = [(p.pre_activations, self._forward_step(l)) for l, p in enumerate(self.products)]
        for t in range(len(self.layers[0].operands) - 1):
            for multiply, gate in pairs:
                gate(t, multiply(t))

    def _forward_step(self, l: int) -> Step:
        if self.plan.native:
            return native.Step("forward", self.layers, l)
        return lambda t, pre: gates.forward(self.layers, l, t, pre)

    def backward(self, gradients: Sequence[Gradients], given: Given, workspace: Workspace) -> None:
        work = []
        for l, (d, p, of_level, of_boundary) in enumerate(zip(gradients, self.products, *given, strict=True)):
            backward, scatter = self._backward_steps(gradients, l)
            multiply = p.operand_gradient(gradients, workspace)
            dlevels = None if of_level is None else of_level.unbind(1)
            work.append((d, dlevels, of_boundary, backward, multiply, scatter))
        for t in reversed(range(len(self.layers[0].operands) - 1)):
            for d, dlevels, dz, backward, multiply, scatter in reversed(work):
                if dlevels is not None:
                    d.h += dlevels[t]
                if dz is not None and d.z is not None:
                    d.z += dz[t + 1]
                backward(t, d.pre)
                scatter(t, multiply(t))

    def _backward_steps(self, gradients: Sequence[Gradients], l: int) -> tuple[Step, Step]:
        layers = self.layers
        if self.plan.native:
            return native.Step("backward", layers, l, gradients), native.Step("scatter", layers, l, gradients)
        return (
            lambda t, _: gates.backward(layers, gradients, l, t),
            lambda t, doperand: gates.scatter(layers, gradients, l, t, doperand),
        )

    def weight_gradients(self, gradients: Sequence[Gradients]) -> list[tuple[Tensor | None, ...]]:
        return [p.weight_gradients(d) for p, d in zip(self.products, gradients, strict=True)]
