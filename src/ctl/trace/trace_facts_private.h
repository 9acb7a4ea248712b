/* SPDX-License-Identifier: ISC */
/* trace_facts_private: shared by the files trace_facts*.c. */
#ifndef SPLIT_CTL_TRACE_FACTS_PRIVATE_H
#define SPLIT_CTL_TRACE_FACTS_PRIVATE_H

#include "ctl/trace/trace_facts.h"

/* The length of "<address>" at the beginning of the text; 0: its end is missing. A '>' between
 * quotes does not end it. */
size_t trace_facts_path_len(const char *at, size_t len) __attribute__((nonnull));
/* The length of "<a>,<b>..." at the beginning of the text; 0: its end is missing. */
size_t trace_facts_paths_len(const char *at, size_t len) __attribute__((nonnull));

#endif
