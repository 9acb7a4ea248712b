/* SPDX-License-Identifier: ISC */
/*
 * fake_syslog: stands in for syslog(3) of the C library in programs that are linked with it, and
 * remembers what came. As there, the tag is the process's.
 */
#ifndef SPLIT_FAKE_SYSLOG_H
#define SPLIT_FAKE_SYSLOG_H

#include <stdbool.h>
#include <stddef.h>

/* The last line: "TAG FACILITY PRIORITY TEXT"; only while no other thread logs. */
const char *fake_syslog_last(void);

size_t fake_syslog_lines(void);

/* From now on syslog(3) blocks, as with a system's log that is stuck, or no longer. */
void fake_syslog_block(bool blocks);

/* Lines "of TAG" that came with another tag. */
size_t fake_syslog_mixed_up(void);

#endif
