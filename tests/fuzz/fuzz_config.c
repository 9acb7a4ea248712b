/* SPDX-License-Identifier: ISC */
/*
 * A configuration, without the files that it includes. Either it is refused with a message that
 * begins with the file, or every place in it is a line of the text.
 */
#include "config/config_file.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_place(struct text_place place, unsigned lines)
{
    require(strcmp(place.file, "fuzz") == 0 && place.line >= 1 && place.line <= lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size == 0 ? 1 : size); /* exact size: sanitizers see a read past the end */
    unsigned lines = 1;
    struct err err = {""};

    require(text != NULL);
    memcpy(text, data, size);
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    struct config *c = config_file_load_text("fuzz", text, size, &err);
    free(text);
    if (c == NULL) {
        require(strncmp(err.text, "fuzz:", 5) == 0);
        return 0;
    }
    for (size_t i = 0; i < c->filter_count; i++)
        check_place(c->filters[i].place, lines);
    for (size_t i = 0; i < c->destination_count; i++)
        check_place(c->destinations[i].place, lines);
    for (size_t i = 0; i < c->milter.filter_maps.count; i++)
        check_place(c->milter.filter_maps.places[i], lines);
    config_free(c);
    return 0;
}
