"""Cells as jobs of a Slurm cluster, through submitit; its local executor runs the same jobs on this machine."""

import os
import time
from collections import deque
from dataclasses import replace

from mixlab.errors import ParamError, problem
from mixlab.grid.state import Names
from mixlab.grid.tasks import Task, stop

PAUSE_SECONDS = 0.3


def work(cell, place):
    """One cell from start to end, in the process that calls it: what a job of the cluster does.

    The run's name is found here, since it holds the precision that this machine has.
    Returns:
        what became of the cell, as ``Task.poll`` gives it.
    """
    place = replace(place, threads=int(os.environ.get("SLURM_CPUS_PER_TASK", place.threads)))
    task = Task(cell, Names(place.runs_dir).run(cell.params), place)
    try:
        while (record := task.poll()) is None:
            time.sleep(PAUSE_SECONDS)
    except BaseException:
        stop([task])
        raise
    return record


class Job:
    """``work`` as submitit wants it: a job that runs out of time or is preempted is queued again and goes on."""

    def __call__(self, cell, place):
        return work(cell, place)

    def checkpoint(self, cell, place):
        import submitit
        return submitit.helpers.DelayedSubmission(self, cell, place)


def run_cluster(todo, place, at_once, options, report, slurm=True):
    """Submits a job for each cell and waits for all.

    Args:
        report: called as ``report(cell, record, elapsed)`` at each end; ``elapsed`` are seconds of the jobs in flight.
        at_once: jobs in flight; None for all.
        options: parameters of the executor, e.g. ``slurm_partition``, ``timeout_min``, ``gpus_per_node``.
    """
    executor = _executor(place, options, slurm)
    queue, jobs = deque(todo), {}
    try:
        while queue or jobs:
            _submit(executor, queue, jobs, place, len(todo) if at_once is None else at_once)
            for job in [job for job in jobs if job.done()]:
                cell, _ = jobs.pop(job)
                report(cell, _outcome(job, cell), [time.monotonic() - began for _, began in jobs.values()])
            time.sleep(PAUSE_SECONDS if jobs else 0)
    except BaseException:
        for job in jobs:
            job.cancel(check=False)
        raise


def _executor(place, options, slurm):
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise ParamError(problem("place", "local, because submitit is not installed", "slurm" if slurm else "submitit",
                                 "Install it: pip install -e '.[cluster]'")) from error
    try:
        executor = submitit.AutoExecutor(folder=place.folder / "jobs", cluster="slurm" if slurm else "local")
    except RuntimeError as error:
        raise ParamError(problem("place", "local, because this machine has no Slurm", "slurm",
                                 f"Start it on the cluster's login node ({error})")) from error
    try:
        executor.update_parameters(**{"name": "mixlab", "timeout_min": 24 * 60, **options})
    except (NameError, TypeError, ValueError) as error:
        raise ParamError(problem("job", "parameters of submitit's executor", options, str(error))) from error
    return executor


def _submit(executor, queue, jobs, place, at_once):
    """Fills up the jobs in flight, in one array where the cluster knows arrays."""
    fresh = [queue.popleft() for _ in range(min(at_once - len(jobs), len(queue)))]
    if fresh:
        with executor.batch():
            submitted = [executor.submit(Job(), cell, place) for cell in fresh]
        jobs.update({job: (cell, time.monotonic()) for job, cell in zip(submitted, fresh, strict=True)})


def _outcome(job, cell):
    """What the job returned, or the last line of how it failed."""
    error = job.exception()
    if error is None:
        return job.result()
    said = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return {"cell": cell.name, "status": "failed", "message": f"job {job.job_id}: {said[-1][:500]}", "seconds": {}}
