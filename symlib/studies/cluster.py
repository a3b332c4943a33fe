"""Shards of a study on a cluster that dask schedules: processes of this machine, Slurm, Kubernetes, or any other.

Workers and the program that waits for them see one file system; a shard writes its record there like everywhere.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from symlib.records import Record

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 10  # seconds to wait for a scheduler


@contextmanager
def connected(scheduler: str) -> Iterator["Client"]:
    """Connect to the scheduler at an address, "tcp://host:8786" say.

    Raises:
        ValueError: If dask is not installed or nothing answers in ten seconds.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError('a scheduler needs dask: `pip install "symlib[cluster]"`') from error
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no scheduler answers at {scheduler} ({type(error).__name__}): start one with `dask scheduler`, or leave "
            "scheduler empty to work on this machine"
        ) from error
    with client:
        yield client


def run_on_cluster(
    scheduler: str, tasks: Mapping[str, Callable[[], Record]], on_done: Callable[[], None]
) -> dict[str, Record]:
    """Run tasks on the workers of a scheduler; one that loses its worker is run again by another.

    Args:
        scheduler: Its address.
        tasks: Name -> what to run; picklable.
        on_done: Called after each.

    Raises:
        ValueError: If the scheduler does not answer.
        RuntimeError: If the connection is lost; what was finished is recorded, and the run can be started again.
    """
    from distributed import CancelledError, as_completed
    from distributed.comm import CommClosedError

    with connected(scheduler) as client:
        names = {client.submit(_with_one_thread, task, pure=False): name for name, task in tasks.items()}
        found = {}
        for future in as_completed(names):
            try:
                found[names[future]] = future.result()
            except (CancelledError, CommClosedError) as error:
                raise RuntimeError(
                    f"the scheduler at {scheduler} is gone: start it again, and then this run, to go on"
                ) from error
            on_done()
        return found


def _with_one_thread(task: Callable[[], Record]) -> Record:
    torch.set_num_threads(1)  # which is fastest when workers fill the cores
    return task()
