/* SPDX-License-Identifier: ISC */
/* relay_files: the files of the page, from src/relay/page/, which embed.sh turns into C. */
#ifndef SPLIT_RELAY_FILES_H
#define SPLIT_RELAY_FILES_H

#include "metrics/metrics_http.h"

/* Ends with an entry whose path is NULL. */
extern const struct metrics_http_file relay_files[];

#endif
