/* SPDX-License-Identifier: ISC */
/* Conditions that select copies, as lines NAME=VALUE. A condition that is taken can be made into
 * SQL, with as many parameters as there are values. */
#include "queue/selection.h"
#include "relay/criterion.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sql(const struct queue_selection *selection)
{
    int (*const functions[])(struct selection_sql *, const struct queue_selection *, unsigned,
                             struct err *) = {selection_sql_copies, selection_sql_history};

    for (size_t i = 0; i < 2; i++) {
        struct selection_sql s;
        struct err err;
        char last[16];
        if (functions[i](&s, selection, 1, &err) != 0)
            abort();
        snprintf(last, sizeof last, "$%zu", s.count + 1);
        if (strstr(buf_str(&s.condition), last) != NULL)
            abort();
        selection_sql_clear(&s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct queue_selection selection = {0};
    char *text = mem_strndup((const char *)data, size), *rest = text, *line;

    while ((line = strsep(&rest, "\n")) != NULL) {
        struct err err = {""};
        char *value = strchr(line, '=');
        if (value == NULL)
            continue;
        *value++ = '\0';
        struct queue_selection before = selection;
        if (criterion_take(&selection, criterion_find(line), value, 1700000000, &err) == 0)
            continue;
        if (err.text[0] == '\0')
            abort();
        selection = before;
    }
    check_sql(&selection);
    free(text);
    return 0;
}
