/* SPDX-License-Identifier: ISC */
#include "receive/condition.h"

#include "config/config_units.h"

#include <inttypes.h>
#include <stdio.h>

bool condition_is_set(const struct config_destination *d)
{
    return d->unless_header.count > 0 || d->max_size_bytes > 0;
}

enum queue_skip condition_decide(const struct config_destination *d,
                                 const struct content_watch *watch, uint64_t size_bytes, char *out,
                                 size_t out_size)
{
    char limit[24];

    out[0] = '\0';
    if (watch->met != NULL) {
        snprintf(out, out_size, "unless_header \"%s\"", watch->met);
        return QUEUE_SKIP_UNLESS_HEADER;
    }
    if (d->max_size_bytes > 0 && size_bytes > d->max_size_bytes) {
        config_units_format_size(d->max_size_bytes, limit, sizeof limit);
        snprintf(out, out_size, "max_size %s: %" PRIu64 " bytes", limit, size_bytes);
        return QUEUE_SKIP_MAX_SIZE;
    }
    return QUEUE_WANTED;
}
