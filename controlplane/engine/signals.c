/*
 * Names of signals, as documents have them: TERM, not SIGTERM.
 *
 * Pure, but for the buffer of a number that has no name.
 */


#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "signals.h"


static const struct {
    const char  *name;
    int          number;
} corrald_signals[] = {
    { "TERM", SIGTERM }, { "INT",  SIGINT  }, { "QUIT", SIGQUIT },
    { "HUP",  SIGHUP  }, { "USR1", SIGUSR1 }, { "USR2", SIGUSR2 },
    { "KILL", SIGKILL }, { "SEGV", SIGSEGV }, { "ABRT", SIGABRT },
    { "BUS",  SIGBUS  }, { "FPE",  SIGFPE  }, { "ILL",  SIGILL  },
    { "PIPE", SIGPIPE }, { "ALRM", SIGALRM }, { "SYS",  SIGSYS  },
    { "XCPU", SIGXCPU }, { "XFSZ", SIGXFSZ }, { "TRAP", SIGTRAP }
};


#define CORRALD_SIGNALS_N                                                     \
    (sizeof(corrald_signals) / sizeof(corrald_signals[0]))


int
corrald_signals_number(const char *name)
{
    size_t  i;

    for (i = 0; i < CORRALD_SIGNALS_N; i++) {
        if (strcmp(corrald_signals[i].name, name) == 0) {
            return corrald_signals[i].number;
        }
    }

    return SIGTERM;
}


const char *
corrald_signals_name(int number)
{
    size_t       i;

    static char  text[16];

    for (i = 0; i < CORRALD_SIGNALS_N; i++) {
        if (corrald_signals[i].number == number) {
            return corrald_signals[i].name;
        }
    }

    (void) snprintf(text, sizeof(text), "%d", number);

    return text;
}
