/* SPDX-License-Identifier: ISC */
/*
 * route_down: which addresses took no connection lately: one list of the process, bounded. Private
 * to route.c. now_s: CLOCK_MONOTONIC. Any thread.
 */
#ifndef SPLIT_ROUTE_DOWN_H
#define SPLIT_ROUTE_DOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ROUTE_DOWN_MAX 256 /* addresses; the one that was noted first makes room */

/*
 * Is it to be avoided? When its time is over the answer is no for one caller, who thereby is asked
 * to try it, and yes for all others until that time has passed once more, or it was removed.
 */
bool route_down_is(const struct sockaddr_storage *sa, socklen_t len, int64_t now_s)
    __attribute__((nonnull));

void route_down_add(const struct sockaddr_storage *sa, socklen_t len, int64_t now_s)
    __attribute__((nonnull));
void route_down_remove(const struct sockaddr_storage *sa, socklen_t len) __attribute__((nonnull));

#endif
