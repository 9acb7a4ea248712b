# SPDX-License-Identifier: ISC
"""Shows the stacks of all tasks of a process or a core, in gdb (docs/tasks.md, "Debugging"):

    gdb -p $(pidof splitrelay) -x src/task/task-gdb.py -ex "task all" -batch
    gdb build/build/splitrelay CORE -x src/task/task-gdb.py -ex "task all" -batch

Commands: `task list` (one line for each task), `task all` (with their stacks), `task N` (the stack of one task). Works on x86-64 with
glibc. gdb needs Python, and the program needs debugging symbols.

How it works: the registers of a task that does not run are in struct task_context, in a jmp_buf or in a ucontext_t. In a jmp_buf glibc
encodes some of them with a guard value of the process. While a stack is shown, an unwinder tells gdb that the frame of the current
thread was called from the task's registers. Nothing is written, so this works with a core, too. Frame #0 of the thread is left out.
"""

import gdb
import gdb.unwinder

JUMP_BUFFER = ("rbx", "rbp", "r12", "r13", "r14", "r15", "rsp", "rip")  # glibc: sysdeps/x86_64/jmpbuf-offsets.h
MANGLED = ("rbp", "rsp", "rip")  # glibc: PTR_MANGLE
GREGS = {"r12": 4, "r13": 5, "r14": 6, "r15": 7, "rbp": 10, "rbx": 11, "rsp": 15, "rip": 16}  # <sys/ucontext.h>: REG_*
ALL_BITS = (1 << 64) - 1
TASK_FOREVER = (1 << 63) - 1


def unmangle(value, guard):
    return ((value >> 17) | (value << 47)) & ALL_BITS ^ guard


def pointer_guard():
    """The guard value, which glibc keeps in the header of each thread's control block. It is the same in all threads."""
    base = int(gdb.parse_and_eval("(unsigned long)$fs_base"))
    return int.from_bytes(gdb.selected_inferior().read_memory(base + 0x30, 8).tobytes(), "little")


def saved_registers(task):
    context = task["context"]
    if not context["is_in_jump"]:
        gregs = context["machine"]["uc_mcontext"]["gregs"]
        return {name: int(gregs[at]) & ALL_BITS for name, at in GREGS.items()}
    jump = context["jump"][0]["__jmpbuf"]
    registers = {name: int(jump[at]) & ALL_BITS for at, name in enumerate(JUMP_BUFFER)}
    guard = pointer_guard()
    for name in MANGLED:
        registers[name] = unmangle(registers[name], guard)
    return registers


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class TaskUnwinder(gdb.unwinder.Unwinder):
    """While `registers` is set, gdb takes the task with these registers for the caller of the innermost frame."""

    def __init__(self):
        super().__init__("task")
        self.registers = None

    def __call__(self, pending_frame):
        registers = self.registers
        if registers is None or pending_frame.level() != 0:
            return None
        # The address is below the task's stack, because gdb regards a caller with a lower stack as corrupt.
        info = pending_frame.create_unwind_info(FrameId(gdb.Value(registers["rsp"] - 8), gdb.Value(registers["rip"])))
        kind = gdb.lookup_type("unsigned long")
        for name, value in registers.items():
            info.add_saved_register(name, gdb.Value(value).cast(kind))
        return info

    def backtrace(self, registers):
        self.registers = registers
        gdb.invalidate_cached_frames()
        try:
            text = gdb.execute("backtrace", to_string=True)
        finally:
            self.registers = None
            gdb.invalidate_cached_frames()
        lines = text.split("\n")
        while lines and not lines[0].startswith("#1 "):
            lines.pop(0)
        return "\n".join(lines).rstrip()


def tasks():
    """(thread, task) for each task that has not ended, in the order of threads."""
    pool = gdb.lookup_global_symbol("task_pools").value()
    while pool:
        for number in range(int(pool["thread_count"])):
            task = pool["threads"][number]["tasks"]
            while task:
                if not task["is_over"]:
                    yield number, task
                task = task["all_next"]
        pool = pool["next"]


def state_of(task):
    if task["thread"]["current"] == task:
        return "runs: see its thread in `thread apply all backtrace'"
    if not task["context"]["has_begun"]:
        return "has not begun"
    if not task["is_waiting"]:
        return "is runnable"
    deadline = int(task["deadline_ms"])
    return "waits" if deadline == TASK_FOREVER else f"waits, until {deadline} ms of CLOCK_MONOTONIC at most"


class TaskCommand(gdb.Command):
    """Show tasks: `task list', `task all', or `task N' for one task of the list."""

    def __init__(self, unwinder):
        super().__init__("task", gdb.COMMAND_STACK)
        self.unwinder = unwinder

    def invoke(self, argument, from_tty):
        wanted = argument.strip() or "list"
        if wanted not in ("list", "all") and not wanted.isdigit():
            raise gdb.GdbError("usage: task list | all | N")
        if gdb.selected_thread() is None:
            raise gdb.GdbError("no process and no core")
        if gdb.selected_frame().architecture().name() != "i386:x86-64":
            raise gdb.GdbError("the stacks of tasks are known on x86-64 only")
        count = 0
        for number, (thread, task) in enumerate(tasks(), 1):
            count += 1
            if wanted.isdigit() and int(wanted) != number:
                continue
            print(f"task {number} on thread {thread}: {task['run'].format_string(symbols=True)}({task['arg']}), {state_of(task)}")
            has_stack = task["context"]["has_begun"] and task["thread"]["current"] != task
            if wanted != "list" and has_stack:
                print(self.unwinder.backtrace(saved_registers(task)))
        print(f"{count} tasks")


UNWINDER = TaskUnwinder()
gdb.unwinder.register_unwinder(None, UNWINDER, replace=True)
TaskCommand(UNWINDER)
