/*
 * Who an agent runs as, and whether corrald's configuration allows that.
 *
 * Started as root, corrald never runs an agent as root by default; started
 * unprivileged, it runs agents as itself.
 */


#define _GNU_SOURCE

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../base/conf.h"
#include "../model/doc.h"
#include "describe_local.h"


static int corrald_describe_own(corrald_describe_t *d,
    corrald_describe_user_t *u, const char *user, const char *group);
static int corrald_describe_listed(const corrald_describe_t *d,
    const char *user);


/*
 * The user of services that name none.  Where the packages did not make the
 * default one, it is nobody: never root.
 */

const char *
corrald_describe_default_user(void)
{
    const char  *user;

    user = corrald_conf()->agent_user;

    if (strcmp(user, "corral-agent") == 0 && getpwnam(user) == NULL) {
        return "nobody";
    }

    return user;
}


int
corrald_describe_user(corrald_describe_t *d, corrald_describe_user_t *u)
{
    int             rc;
    char            buf[8192];
    const char     *user, *group;
    struct group    gr, *grp;
    struct passwd   pw, *found;

    user = corrald_doc_str(d->service, "user");
    group = corrald_doc_str(d->service, "group");

    u->uid = -1;
    u->gid = -1;
    u->ngroups = CORRALD_DESCRIBE_GROUPS;

    if (geteuid() != 0) {
        return corrald_describe_own(d, u, user, group);
    }

    if (*user && d->nusers && !corrald_describe_listed(d, user)) {
        return corrald_describe_fail(d, "command_refused", "user \"%s\" "
                                     "is not in \"users\" of corrald's "
                                     "configuration", user);
    }

    if (*user == '\0') {
        user = d->agent_user;
    }

    rc = getpwnam_r(user, &pw, buf, sizeof(buf), &found);

    if (rc != 0 || found == NULL) {
        return corrald_describe_fail(d, "spawn_failed", "user \"%s\" does not "
                                     "exist: make it, or set \"user\" of the "
                                     "service or \"agent_user\" of corrald",
                                     user);
    }

    /* by the table's words "any but root": an empty list is no leave */

    if (pw.pw_uid == 0 && d->nusers == 0) {
        return corrald_describe_fail(d, "command_refused", "user \"%s\" is "
                                     "root: name it in \"users\" of corrald's "
                                     "configuration to allow that", user);
    }

    u->uid = pw.pw_uid;
    u->gid = pw.pw_gid;
    (void) snprintf(u->name, sizeof(u->name), "%s", pw.pw_name);
    (void) snprintf(u->home, sizeof(u->home), "%s", pw.pw_dir);

    if (*group) {
        rc = getgrnam_r(group, &gr, buf, sizeof(buf), &grp);

        if (rc != 0 || grp == NULL) {
            return corrald_describe_fail(d, "spawn_failed", "group \"%s\" "
                                         "does not exist", group);
        }

        u->gid = gr.gr_gid;
    }

    if (getgrouplist(u->name, (gid_t) u->gid, u->groups, &u->ngroups) == -1) {
        u->ngroups = CORRALD_DESCRIBE_GROUPS;
    }

    return 0;
}


/* Without root: as corrald itself; a service that names another is refused. */

static int
corrald_describe_own(corrald_describe_t *d, corrald_describe_user_t *u,
    const char *user, const char *group)
{
    int             rc;
    char            buf[8192];
    struct passwd   pw, *found;

    rc = getpwuid_r(geteuid(), &pw, buf, sizeof(buf), &found);

    (void) snprintf(u->name, sizeof(u->name), "%s",
                    rc == 0 && found ? pw.pw_name : "");
    (void) snprintf(u->home, sizeof(u->home), "%s",
                    rc == 0 && found ? pw.pw_dir : "/");

    if (*user && strcmp(user, u->name) != 0) {
        return corrald_describe_fail(d, "command_refused", "corrald does "
                                     "not run as root: it cannot start "
                                     "agents as user \"%s\"", user);
    }

    if (*group) {
        return corrald_describe_fail(d, "command_refused", "corrald does "
                                     "not run as root: it cannot start "
                                     "agents as group \"%s\"", group);
    }

    return 0;
}


static int
corrald_describe_listed(const corrald_describe_t *d, const char *user)
{
    size_t  i;

    for (i = 0; i < d->nusers; i++) {
        if (strcmp(d->users[i], user) == 0) {
            return 1;
        }
    }

    return 0;
}
