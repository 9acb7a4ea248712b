# SPDX-License-Identifier: ISC
# What is sent: header fields and journal reports around the content.
librelay_a_SOURCES += %D%/format.c %D%/format.h
librelay_a_SOURCES += %D%/format_class.c %D%/format_class.h
librelay_a_SOURCES += %D%/format_decode.c %D%/format_decode.h
librelay_a_SOURCES += %D%/format_journal.c %D%/format_journal.h
librelay_a_SOURCES += %D%/format_scan.c %D%/format_scan.h
librelay_a_SOURCES += %D%/format_word.c %D%/format_word.h
librelay_a_SOURCES += %D%/trace.c %D%/trace.h
