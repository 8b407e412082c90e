"""Train one backbone, test it, and say what it learned: ``python -m multiscale.run [group=choice] [key=value]``.

A sweep is ``-m`` with lists: ``-m model=hmlstm,clockwork``; what was stopped goes on with
``resume=<folder of the run or sweep>``.
"""

import sys

from multiscale.cli import INTERRUPTED, collect_seldom, print_no_more


def main() -> None:
    """The command line, which Ctrl-C ends without a traceback from its first moments on."""
    collect_seldom()
    try:
        from multiscale.jobs.run import run_words  # Hydra takes a part of a second, what it runs more

        run_words(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        print_no_more()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
