# SPDX-License-Identifier: ISC
# What becomes of a copy.
librelay_a_SOURCES += %D%/delivery.c %D%/delivery.h
librelay_a_SOURCES += %D%/destination.c %D%/destination.h
librelay_a_SOURCES += %D%/destination_health.c
librelay_a_SOURCES += %D%/destination_private.h
librelay_a_SOURCES += %D%/flow.c %D%/flow.h
librelay_a_SOURCES += %D%/maildir.c %D%/maildir.h
librelay_a_SOURCES += %D%/maildir_dirs.c %D%/maildir_dirs.h
librelay_a_SOURCES += %D%/maildir_file.c %D%/maildir_file.h
librelay_a_SOURCES += %D%/maillog.c %D%/maillog.h
librelay_a_SOURCES += %D%/suspects.c %D%/suspects.h
librelay_a_SOURCES += %D%/transport.c %D%/transport.h
