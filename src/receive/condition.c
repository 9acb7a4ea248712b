/* SPDX-License-Identifier: ISC */
#include "receive/condition.h"

#include "config/config_units.h"

#include <inttypes.h>
#include <stdio.h>

bool condition_is_set(const struct config_destination *d)
{
    return d->unless_header.count > 0 || d->max_size_bytes > 0;
}

bool condition_is_wanted(const struct config_destination *d, const struct content_watch *watch,
                         uint64_t size_bytes, char *out, size_t out_size)
{
    char limit[24];

    out[0] = '\0';
    if (watch->met != NULL) {
        snprintf(out, out_size, "unless_header \"%s\"", watch->met);
    } else if (d->max_size_bytes > 0 && size_bytes > d->max_size_bytes) {
        config_units_format_size(d->max_size_bytes, limit, sizeof limit);
        snprintf(out, out_size, "max_size %s: %" PRIu64 " bytes", limit, size_bytes);
    }
    return out[0] == '\0';
}
