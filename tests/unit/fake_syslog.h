/* SPDX-License-Identifier: ISC */
/*
 * fake_syslog: replaces syslog(3) of the C library in programs that are linked with it, and records
 * the lines. As in the C library, the tag belongs to the process.
 */
#ifndef SPLIT_FAKE_SYSLOG_H
#define SPLIT_FAKE_SYSLOG_H

#include <stdbool.h>
#include <stddef.h>

/* The last line: "TAG FACILITY PRIORITY TEXT"; only while no other thread logs. */
const char *fake_syslog_last(void);

size_t fake_syslog_lines(void);

/* true: from now on syslog(3) blocks, as with a system's log that is stuck. false: no longer. */
void fake_syslog_block(bool blocks);

/* The number of lines with the text "of TAG" that came with another tag. */
size_t fake_syslog_mixed_up(void);

#endif
