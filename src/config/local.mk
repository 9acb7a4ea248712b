# SPDX-License-Identifier: ISC
# The configuration file.
libsplit_a_SOURCES += %D%/config.c %D%/config.h
libsplit_a_SOURCES += %D%/config_destination.c %D%/config_destination.h
libsplit_a_SOURCES += %D%/config_fallback.c %D%/config_fallback.h
libsplit_a_SOURCES += %D%/config_fault.c %D%/config_fault.h
libsplit_a_SOURCES += %D%/config_file.c %D%/config_file.h
libsplit_a_SOURCES += %D%/config_include.c %D%/config_include.h
libsplit_a_SOURCES += %D%/config_lex.c %D%/config_lex.h
libsplit_a_SOURCES += %D%/config_option.c %D%/config_option.h
libsplit_a_SOURCES += %D%/config_option_table.c
libsplit_a_SOURCES += %D%/config_option_text.c %D%/config_option_text.h
libsplit_a_SOURCES += %D%/config_parse.c %D%/config_parse.h
libsplit_a_SOURCES += %D%/config_queue.c %D%/config_queue.h
libsplit_a_SOURCES += %D%/config_restart.c %D%/config_restart.h
libsplit_a_SOURCES += %D%/config_tls.c %D%/config_tls.h
libsplit_a_SOURCES += %D%/config_tree.c %D%/config_tree.h
libsplit_a_SOURCES += %D%/config_units.c %D%/config_units.h
