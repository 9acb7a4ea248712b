/* SPDX-License-Identifier: ISC */
/*
 * Stacks, and the switch between them. makecontext(3) prepares a stack, and _setjmp() and
 * _longjmp() switch. swapcontext(3) would make a system call at each switch, to set the signal
 * mask, which is the same in all tasks. docs/tasks.md has the figures.
 *
 * swapcontext(3) is needed where a stack consists of more than memory and registers. It is used
 * with the sanitizers, which follow its switches, and with shadow stacks (Intel CET), between which
 * longjmp(3) cannot switch. Whether the process has a shadow stack is known only when it runs: a
 * build with -fcf-protection has one if the processor, the kernel and the C library
 * (GLIBC_TUNABLES=glibc.cpu.x86_shstk=on) support it.
 */
#undef _FORTIFY_SOURCE /* with it longjmp(3) aborts if the target is on another stack */
#include "task/task_private.h"

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

/* So large that a library function which was compiled without -fstack-clash-protection does not
 * step over the guard with a large frame. */
#define GUARD_SIZE (64 * 1024)

#if defined(WITH_ASAN) || defined(WITH_TSAN)
#define STACK_SIZE (1024 * 1024) /* frames are several times as large with a sanitizer */
#else
#define STACK_SIZE (256 * 1024)
#endif

void task_context_adopt(struct task_context *c)
{
    memset(c, 0, sizeof *c);
    c->has_begun = true;
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
    size_t size = STACK_SIZE + GUARD_SIZE;

    /* The kernel allocates a page when it is used first. */
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED)
        return errno;
    if (mprotect(stack, GUARD_SIZE, PROT_NONE) != 0 || getcontext(&c->machine) != 0) {
        int error = errno;
        munmap(stack, size);
        return error;
    }
    c->stack = stack;
    c->stack_size = size;
    c->fake_stack = NULL;
    c->has_begun = c->is_in_jump = false;
    c->machine.uc_stack.ss_sp = stack + GUARD_SIZE;
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

static bool needs_swapcontext(void)
{
#if defined(WITH_ASAN) || defined(WITH_TSAN)
    return true;
#elif defined(__x86_64__)
    unsigned long shadow_stack = 0;

    /* Without a shadow stack this is a no-op, and costs 1 ns at most. */
    __asm__ volatile("rdsspq %0" : "+r"(shadow_stack));
    return shadow_stack != 0;
#else
    return false;
#endif
}

static void go(struct task_context *from, struct task_context *to)
{
    if (needs_swapcontext()) {
        to->has_begun = true;
        swapcontext(&from->machine, &to->machine);
        return;
    }
    from->is_in_jump = true;
    if (_setjmp(from->jump) != 0)
        return; /* a later switch to `from` */
    if (to->has_begun)
        _longjmp(to->jump, 1);
    to->has_begun = true;
    setcontext(&to->machine);
}

void task_context_switch(struct task_context *from, struct task_context *to)
{
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_size);
#endif
#ifdef WITH_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    go(from, to);
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}
