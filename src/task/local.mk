# SPDX-License-Identifier: ISC
# Tasks: many conversations on a few threads.
libsplit_a_SOURCES += %D%/task.c %D%/task.h
libsplit_a_SOURCES += %D%/task_block.c
libsplit_a_SOURCES += %D%/task_loop.c
libsplit_a_SOURCES += %D%/task_private.h
libsplit_a_SOURCES += %D%/task_switch.c
libsplit_a_SOURCES += %D%/task_timer.c
libsplit_a_SOURCES += %D%/task_wait.c
EXTRA_DIST += %D%/task-gdb.py
