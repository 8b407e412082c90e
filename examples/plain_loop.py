"""An HM-LSTM in a plain PyTorch loop: it predicts the next symbol of one long text, chunk after chunk."""

import sys

import torch
from torch.nn import functional as F

from multiscale import HMLSTM, Gated, detach

TEXT = "the quick brown fox jumps over the lazy dog. " * 200
BATCH, STEPS = 4, 32


def main(epochs: int = 2, chunks: int | None = None) -> list[float]:
    """The mean loss of each epoch, in nats a symbol, over the first ``chunks`` of the text or all."""
    torch.manual_seed(0)
    alphabet = sorted(set(TEXT))
    symbols = torch.tensor([alphabet.index(character) for character in TEXT])
    rows = symbols[: len(symbols) // BATCH * BATCH].view(BATCH, -1)  # B texts side by side

    network = HMLSTM(len(alphabet), [32, 32])
    head = Gated(network.level_sizes, len(alphabet), embedding_size=32)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=0.01)
    starts = range(0, rows.size(1) - STEPS, STEPS)[:chunks]
    losses = []
    for epoch in range(epochs):
        network.anneal(epoch)  # else the slope stays where it began
        state, total = None, 0.0
        for start in starts:
            chunk = rows[:, start : start + STEPS + 1]
            x = F.one_hot(chunk[:, :-1], len(alphabet)).float()
            output = network(x, state)
            state = detach(output.state)  # the state is carried on, the gradient is not
            loss = F.cross_entropy(head(output.levels).flatten(0, 1), chunk[:, 1:].flatten())
            optimizer.zero_grad()
            (loss + output.penalty).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            total += float(loss.detach())
        losses.append(total / len(starts))

    network.eval()
    with torch.no_grad():
        trace = network(F.one_hot(rows[:1, :60], len(alphabet)).float(), trace=True).trace
    ended = trace.boundary[0, :, 0].tolist()
    print("".join(alphabet[s] + "|" * int(z) for s, z in zip(rows[0, :60].tolist(), ended, strict=True)))
    return losses


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
