# SPDX-License-Identifier: ISC
# Decisions about recipients.
libsplit_a_SOURCES += %D%/daemon.c %D%/daemon.h
libsplit_a_SOURCES += %D%/policy.c %D%/policy.h
libsplit_a_SOURCES += %D%/policy_choice.c %D%/policy_choice.h
libsplit_a_SOURCES += %D%/policy_complete.c
libsplit_a_SOURCES += %D%/policy_copies.c %D%/policy_copies.h
libsplit_a_SOURCES += %D%/policy_direction.c
libsplit_a_SOURCES += %D%/policy_header.c
libsplit_a_SOURCES += %D%/policy_message.c
libsplit_a_SOURCES += %D%/policy_open.c
libsplit_a_SOURCES += %D%/policy_orcpt.c
libsplit_a_SOURCES += %D%/policy_plan.c
libsplit_a_SOURCES += %D%/policy_private.h
libsplit_a_SOURCES += %D%/policy_review.c
libsplit_a_SOURCES += %D%/policy_value.c
libsplit_a_SOURCES += %D%/snapshot.c %D%/snapshot.h
libsplit_a_SOURCES += %D%/watch.c %D%/watch.h
