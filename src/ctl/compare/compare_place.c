/* SPDX-License-Identifier: ISC */
#include "base/buf.h"
#include "base/mem.h"
#include "base/process.h"
#include "ctl/compare/compare.h"
#include "ctl/ctl.h"
#include "mail/template.h"

#include <string.h>

bool compare_is_path(const char *given)
{
    return strchr(given, '/') != NULL;
}

/* Set the place of a destination whose files can be compared. */
static int use_destination(struct compare_place *p, const struct config_destination *d)
{
    const struct endpoint *to = &d->relay_to[0];
    struct buf base = {0};

    if (to->kind != ENDPOINT_MAILDIR) {
        ctl_complain("destination '%s' is not a Maildir, and mail that it was sent is not kept "
                     "here; allowed: the path of a Maildir, or a destination with relay_to = { "
                     "\"maildir:/path\" }",
                     d->name);
        return EXIT_USAGE;
    }
    if (d->format == CONFIG_FORMAT_JOURNAL) {
        ctl_complain("destination '%s' has format = \"journal\", so its files have headers of "
                     "reports; allowed: \"raw\" and \"envelope-headers\"",
                     d->name);
        return EXIT_USAGE;
    }
    if (template_varies(to->path)) {
        p->pattern = to->path;
        template_base(to->path, &base);
    } else {
        buf_adds(&base, to->path);
    }
    p->path = buf_take(&base);
    return EXIT_OK;
}

int compare_place_find(struct compare_place *p, const struct config *config)
{
    if (config == NULL || compare_is_path(p->given)) {
        p->path = mem_strdup(p->given);
        return EXIT_OK;
    }
    const struct config_destination *d = config_find_destination(config, p->given);
    if (d != NULL)
        return use_destination(p, d);
    ctl_complain("there is no destination '%s' (the path of a Maildir has a '/': ./%s)", p->given,
                 p->given);
    return EXIT_CHECK_FAILED;
}
