/* SPDX-License-Identifier: ISC */
/*
 * Stacks, and going from one to another. makecontext(3) and swapcontext(3), which work on every
 * architecture of glibc; POSIX dropped them in 2008 for a detail of C (the arguments of entry), and
 * for the advice to use threads. Measured: 290 ns for a switch, two thirds of which are the system
 * call that saves the signal mask; a switch between threads costs 2 to 25 us on the same machine.
 *
 * The sanitizers must be told: their shadow of the stack, or their clock, changes with it.
 */
#include "task_private.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define WITH_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#include <sanitizer/tsan_interface.h>
#endif

#if defined(WITH_ASAN) || defined(WITH_TSAN)
#define STACK_SIZE (1024 * 1024) /* frames are several times as large then */
#else
#define STACK_SIZE (256 * 1024)
#endif

void task_context_adopt(struct task_context *c)
{
    memset(c, 0, sizeof *c);
#ifdef WITH_TSAN
    c->fiber = __tsan_get_current_fiber();
#endif
#ifdef WITH_ASAN
    pthread_attr_t attr;
    void *stack;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        if (pthread_attr_getstack(&attr, &stack, &c->stack_size) == 0)
            c->stack = stack;
        pthread_attr_destroy(&attr);
    }
#endif
}

int task_context_make(struct task_context *c, void (*entry)(void))
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = STACK_SIZE + guard;

    /* Memory is taken only as far as it is touched. */
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED)
        return errno;
    if (mprotect(stack, guard, PROT_NONE) != 0 || getcontext(&c->machine) != 0) {
        int error = errno;
        munmap(stack, size);
        return error;
    }
    c->stack = stack;
    c->stack_size = size;
    c->fake_stack = NULL;
    c->machine.uc_stack.ss_sp = stack + guard;
    c->machine.uc_stack.ss_size = STACK_SIZE;
    c->machine.uc_link = NULL;
    makecontext(&c->machine, entry, 0);
#ifdef WITH_TSAN
    c->fiber = __tsan_create_fiber(0);
#endif
    return 0;
}

void task_context_clear(struct task_context *c)
{
#ifdef WITH_TSAN
    __tsan_destroy_fiber(c->fiber);
#endif
#ifdef WITH_ASAN
    __asan_unpoison_memory_region(c->stack, c->stack_size);
#endif
    munmap(c->stack, c->stack_size);
    c->stack = NULL;
}

void task_context_entered(void)
{
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
}

void task_context_switch(struct task_context *from, struct task_context *to)
{
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_size);
#endif
#ifdef WITH_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    swapcontext(&from->machine, &to->machine);
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}
