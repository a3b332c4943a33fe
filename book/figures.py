"""Draw the README's figure from the kept record: `python book/figures.py`."""

from pathlib import Path

from symlib import claims
from symlib.plots import mode_connectivity as plots
from symlib.studies.mode_connectivity import barriers

if __name__ == "__main__":
    verdicts = [v for v in claims.scoreboard() if v.claim.id.startswith("B:table1:mlp")]
    record = verdicts[0].record
    paper = claims.printed(verdicts, "barrier")
    figure = plots.barrier_dots(barriers(record), paper, "Loss barrier between two MNIST networks")
    figure.savefig(Path(__file__).parent / "_static/mode_connectivity_mlp.png", dpi=150)
