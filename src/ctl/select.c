/* SPDX-License-Identifier: ISC */
#include "ctl/select.h"

#include "ctl/ctl.h"

#include <string.h>
#include <time.h>

/* All ids of this century have this number of digits (queue_id.h). A shorter word of hexadecimal
 * digits may be the name of a destination. */
#define ID_DIGITS 16

bool select_option(struct select_request *s, int option, const char *value)
{
    struct err err;

    if (option == SELECT_ALL) {
        s->is_all = true;
        return true;
    }
    s->has_condition |= option != SELECT_LIMIT && option != SELECT_IN;
    enum criterion word = (enum criterion)(option - SELECT_FROM);
    if (criterion_take(&s->selection, word, value, time(NULL), &err) == 0)
        return true;
    ctl_complain("--%s '%s': %s", criterion_name(word), value, err.text);
    return false;
}

/* Return true if the words are ids. may_be_name: a destination may be given instead; a word of
 * hexadecimal digits that is shorter than an id then counts as its name. */
static bool are_ids(int count, char **words, bool may_be_name)
{
    for (int i = 0; i < count; i++)
        if (!ctl_is_id(words[i]) || (may_be_name && strlen(words[i]) < ID_DIGITS))
            return false;
    return count > 0;
}

bool select_words(struct select_request *s, bool is_all_usual, int count, char **words)
{
    const bool is_selection = s->is_all || s->has_condition;

    if (!is_selection && are_ids(count, words, is_all_usual)) {
        s->id_count = count;
        s->ids = words;
        return true;
    }
    if (!is_selection && !is_all_usual) {
        for (int i = 0; i < count; i++)
            if (!ctl_is_id(words[i]))
                ctl_complain("'%s' is not the id of a copy", words[i]);
        return false;
    }
    s->selection.destination = count > 0 ? words[0] : NULL;
    return count <= 1;
}

void select_destination(struct select_request *s, const struct config *config)
{
    const char *name = s->selection.destination;
    const struct config_destination *d =
        name == NULL ? NULL : config_find_destination(config, name);

    if (d != NULL)
        s->selection.destination = d->name;
}
