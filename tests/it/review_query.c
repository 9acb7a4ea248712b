/* SPDX-License-Identifier: ISC */
/* For it_postfix_review.py: review_query CONFIGURATION [routes] prints the findings of
 * postfix_review() (or postfix_review_routes()), one line each: LEVEL KIND TEXT -> ADVICE. */
#include "config/config_file.h"
#include "ctl/setup/postfix_review.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    static const char *const levels[] = {"note", "warning", "error"};
    static const char *const kinds[] = {"milters", "non_smtpd", "access", "routes", "tls"};
    struct postfix_review review = {0};
    struct err err;

    if (argc < 2 || log_open("review_query", "stderr", "user", "warning", &err) < 0)
        return 64;
    struct config *config = config_file_load(argv[1], &err);
    if (config == NULL) {
        fprintf(stderr, "%s\n", err.text);
        return 78;
    }
    int rc = argc > 2 ? postfix_review_routes(config, "", &review, &err)
                      : postfix_review(config, "", &review, &err);
    for (size_t i = 0; i < review.count; i++)
        printf("%s %s %s -> %s\n", levels[review.items[i].level], kinds[review.items[i].kind],
               review.items[i].text, review.items[i].advice);
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    postfix_review_clear(&review);
    config_free(config);
    return rc < 0 ? 1 : 0;
}
