/*
 * Where the files of an instance lie:
 *
 *     run_dir/shims/ID.sock, .lock, .exit     of the shim; only corrald's user
 *     run_dir/agents/ID/INCARNATION.sock      what the agent listens on
 *     state_dir/work/ID/                      its directory, if it has no cwd
 *     log_dir/ID.log, .log.1 ...              what it says
 *
 * The path of a socket has at most 107 bytes.  Where an id is too long for
 * that, the first 16 hexadecimal digits of its SHA-256 stand for it.
 */


#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../base/conf.h"
#include "../base/crypt.h"
#include "../base/file.h"
#include "paths.h"


/* "/agents/" or "/shims/", "/4294967295.sock" */

#define CORRALD_PATHS_AROUND  24


void
corrald_paths(const char *instance_id, corrald_paths_t *p)
{
    char                   hex[CORRALD_CRYPT_HEX];
    const corrald_conf_t  *conf;

    conf = corrald_conf();

    (void) snprintf(p->base, sizeof(p->base), "%s", instance_id);

    if (strlen(conf->run_dir) + strlen(instance_id) + CORRALD_PATHS_AROUND
        >= CORRALD_PATHS_SOCKET)
    {
        corrald_crypt_sha256(instance_id, strlen(instance_id), hex);
        (void) snprintf(p->base, sizeof(p->base), "%.16s", hex);
    }

    (void) snprintf(p->socket, sizeof(p->socket), "%s/shims/%s.sock",
                    conf->run_dir, p->base);
    (void) snprintf(p->lock, sizeof(p->lock), "%s/shims/%s.lock",
                    conf->run_dir, p->base);
    (void) snprintf(p->exit, sizeof(p->exit), "%s/shims/%s.exit",
                    conf->run_dir, p->base);
    (void) snprintf(p->dir, sizeof(p->dir), "%s/agents/%s", conf->run_dir,
                    p->base);
    (void) snprintf(p->cwd, sizeof(p->cwd), "%s/work/%s", conf->state_dir,
                    p->base);
    (void) snprintf(p->log, sizeof(p->log), "%s/%s.log", conf->log_dir,
                    instance_id);
}


void
corrald_paths_listen(const corrald_paths_t *paths, uint32_t incarnation,
    char *path, size_t size)
{
    (void) snprintf(path, size, "%s/%u.sock", paths->dir, incarnation);
}


int
corrald_paths_make(char *err, size_t size)
{
    size_t                 i;
    char                   path[2304];
    struct stat            st;
    const corrald_conf_t  *conf;

    conf = corrald_conf();

    const struct {
        const char  *base;
        const char  *name;
        mode_t       mode;
    } dirs[] = {
        { conf->run_dir,   "/agents", 0755 },
        { conf->run_dir,   "/shims",  0700 },
        { conf->state_dir, "/work",   0755 },
        { conf->log_dir,   "",        0750 }
    };

    for (i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {

        (void) snprintf(path, sizeof(path), "%s%s", dirs[i].base,
                        dirs[i].name);

        if (corrald_file_mkdir(path, dirs[i].mode, err, size) == -1) {
            return -1;
        }

        /*
         * Agents of another user pass through run_dir and state_dir to what is
         * theirs.  They cannot list them, and the files have their own modes.
         */

        if (dirs[i].mode == 0755 && stat(dirs[i].base, &st) == 0
            && (st.st_mode & S_IXOTH) == 0
            && chmod(dirs[i].base, (st.st_mode & 07777) | S_IXOTH) == -1)
        {
            (void) snprintf(err, size, "cannot let agents pass through "
                            "\"%s\": %s", dirs[i].base, strerror(errno));
            return -1;
        }
    }

    return 0;
}
