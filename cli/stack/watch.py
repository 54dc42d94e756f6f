"""The watch over all children: each is kept alive, and they are stopped in order."""

import asyncio
from collections.abc import Callable

import psutil

from cli.stack.child import Child, Program
from cli.stack.pids import PidFile


class Watch:
    """The children of one supervisor, by name."""

    def __init__(self, pids: PidFile, say: Callable[[str], None]) -> None:
        self._pids = pids
        self._say = say
        self._children: dict[str, Child] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def keep(self, program: Program, adopted: psutil.Process | None = None) -> Child:
        """Start a program, or take over its process, and keep it alive from now on."""
        child = Child(program, self._pids, self._say)
        if adopted:
            child.adopt(adopted)
        task = asyncio.create_task(child.keep())
        task.add_done_callback(self._check)
        self._children[program.name], self._tasks[program.name] = child, task
        return child

    def pid(self, name: str) -> int | None:
        """Return the pid of a child, or None if there is none of that name."""
        child = self._children.get(name)
        return child.pid if child else None

    def mark_started(self) -> None:
        """Keep every child alive from now on, however often it dies."""
        for child in self._children.values():
            child.started = True

    async def broken(self) -> None:
        """Wait until a child cannot be kept alive, and raise its ProgramFailed."""
        await asyncio.shield(self._broken)

    async def stop(self, *names: str) -> None:
        """Stop these children side by side."""
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        children = [self._children.pop(name) for name in names if name in self._children]
        await asyncio.gather(*(child.stop() for child in children))

    def _check(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error and not self._broken.done():
            self._broken.set_exception(error)
