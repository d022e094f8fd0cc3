#!/usr/bin/perl

# The checks of the house can fail: what they are for is planted in a copy of
# the tree, and each plant must be found, and must not have been found before.

use warnings;
use strict;

use Test::More;

use File::Basename qw/dirname/;
use File::Path qw/make_path/;
use File::Temp qw/tempdir/;
use FindBin;

my $root = "$FindBin::Bin/..";
my $copy = tempdir(CLEANUP => 1);

###############################################################################

chomp(my @files = `$root/auto/files $root`);
ok(@files > 10, 'files of the project');

for my $file (@files) {
    make_path(dirname("$copy/$file"));
    system('cp', '-p', "$root/$file", "$copy/$file") == 0 or die "cp $file";
}

# the tree itself

my $findings = `sh $root/auto/check 2>&1`;
is($?, 0, 'make check has no findings') or diag($findings);

my $before = check();

my @plants = (

    # layout; <tab>, <space> and <todo> are replaced, or this file were found

    [ 'ngx_module/ngx_http_corral_planted_module.c', <<'EOF', [

/* Planted. */


#include <stdio.h>
static int ngx_http_corral_planted(int, char *name);
static void ngx_http_corral_planted_lock(ngx_slab_pool_t *pool);

static ngx_command_t  ngx_http_corral_planted_commands[] = {

    { ngx_string("corral_planted"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_flag_slot,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_variable_t  ngx_http_corral_planted_vars[] = {
    { ngx_string("corral_planted_here"), NULL, NULL, 0, 0, 0 },
      ngx_http_null_variable
};

static int
ngx_http_corral_planted(int n, char *name)
{
    char  s[10];    // planted
    int   i;

    if(n == 1) {
        sprintf(s, "planted");
    }

    if ((i = n)) {
        free (name);
    }

    name = malloc(strlen("corral_planted_things_total"));   /* eighty columns */
<tab>n = 1;
    n = 2;<space>
    /* <todo>: planted */
    free(s);    /* style: an excuse */

    return 0;
}


static void ngx_http_corral_planted_here(void)
{
}


static void
ngx_http_corral_planted_lock(ngx_slab_pool_t *pool)
{
    ngx_slab_alloc_locked(pool, 1);
    ngx_shmtx_lock(&pool->mutex);
    ngx_slab_free_locked(pool, NULL);
    ngx_shmtx_unlock(&pool->mutex);
}
EOF
        ':5: the first header is ngx_config.h or of ours',
        ':6: prototype without names',
        ':27: fewer than two empty lines before a function',
        ':30: // comment',
        ':33: keyword without a space',
        ':34: sprintf() is banned',
        ':37: assignment in a condition',
        ':38: space before the parenthesis of a call',
        ':41: malloc() in the module: use a pool or a slab',
        ':42: tab',
        ':43: trailing space',
        ':44: unfinished work is an issue, not a comment',
        ':51: a function name begins its line',
        ':59: ngx_http_corral_planted_lock() calls ngx_slab_alloc_locked()'
            . ' without the mutex'
    ] ],

    [ 'controlplane/base/long.c', "\n/* Planted. */\n\n\nint\n"
        . "corrald_long(void)\n{\n" . "    x();\n" x 151 . "}\n"
        . '/*' . 'x' x 78 . "*/\n",
      [ ':7: function of 151 lines: split it (150)',
        ':160: longer than 80 columns' ] ],

    [ 'controlplane/base/longer.c', "\n/* Planted. */\n" . "\n" x 1499,
      [ ':0: file of 1501 lines: split it (1500)' ] ],

    [ 'controlplane/base/bare.c', "int  x;\n",
      [ ':1: a file opens with a comment: its office' ] ],

    [ 't/planted.t', "#!/usr/bin/perl\n\n<tab>my \$x;\n" . 'x' x 101 . "\n"
        . 'my $y = 1;',
      [ ':3: tab', ':4: longer than 100 columns',
        ':5: no newline at the end of the file' ] ],

    # layers

    [ 'ngx_module/corral_planted.c', <<'EOF', [

/* Planted. */


#include <ngx_core.h>
#include <corral_schema.h>
#include "ngx_http_corral_table.h"
#include "../controlplane/base/planted.h"
EOF
        ':5: <ngx_core.h> is not for this file, see auto/arrows.map',
        ':7: ngx_module/ngx_http_corral_table.h is not below it in'
            . ' auto/arrows.map',
        ':8: controlplane/base/planted.h is not below it in auto/arrows.map'
    ] ],

    [ 'controlplane/base/planted.h', <<'EOF', [

/* Planted. */


#include <corral_schema.h>
#include <hiredis/hiredis.h>
#include "api/planted.h"
EOF
        ':6: <hiredis/hiredis.h> is not for this file, see auto/arrows.map',
        ':7: controlplane/api/planted.h is not below it in auto/arrows.map'
    ] ],

    [ 'controlplane/api/planted.h', <<'EOF', [] ],

/* Planted. */


#include "base/planted.h"
#include "../store/planted.h"
EOF

    [ 'controlplane/store/planted.h', <<'EOF', [] ],

/* Planted. */


#include <hiredis/async.h>
EOF

    [ 'controlplane/shim/planted.c', <<'EOF', [

/* Planted. */


#include "base/planted.h"
#include "store/planted.h"
EOF
        ':6: controlplane/store/planted.h is not below it in auto/arrows.map'
    ] ],

    [ 'controlplane/nowhere.c', "\n/* Planted. */\n",
      [ ': auto/arrows.map has no layer for it' ] ],

    # documents

    [ 'docs/directives.md', "# Directives\n\n## corral_zone, `corral_planted_gone`\n",
      [ ': directive "corral_planted_gone" is not in the code' ] ],

    [ 'docs/variables.md', "# Variables\n\n- `\$corral_planted_away`: x\n",
      [ ': variable "$corral_planted_away" is not in the code' ] ],

    [ 'docs/metrics.md', "# Metrics\n\n| `corral_planted_lost` | x |\n",
      [ ': metric "corral_planted_lost" is not in the code' ] ],

    [ 'controlplane/api/rest.c', <<'EOF', [

/* Planted. */


static const corrald_rest_route_t  corrald_rest_routes[] = {
    { "GET", "/api/v1/planted/{id}", 1 },
    { "PUT", "/api/v1/known", 1 }
};
EOF
        ': route "GET /api/v1/planted/{id}" is not in docs/rest.md',
        ': route "GET /api/v1/planted/{id}" is not in docs/openapi.json'
    ] ],

    [ 'docs/rest.md', "# REST\n\n| PUT | `/api/v1/known` | x |\n\n"
        . "## DELETE /api/v1/planted\n",
      [ ': route "DELETE /api/v1/planted" is not in the code' ] ],

    [ 'docs/openapi.json', '{"openapi": "3.1.0", "servers": [{"url":'
        . ' "http://127.0.0.1/api/v1"}], "paths": {"/known": {"put": {}},'
        . ' "/planted": {"post": {}, "parameters": []}}}' . "\n",
      [ ': route "POST /api/v1/planted" is not in the code' ] ],

    [ 'controlplane/ctl/corral.c', <<'EOF', [

/* Planted. */


static const corral_command_t  corral_commands[] = {
    { "planted here", "a text of the command" },
    { "known", "a text" }
};


static const corral_option_t  corral_options[] = {
    { "planted", 0, "VALUE", 0, "a text of the option" }
};
EOF
        ': command "corral planted here" is not in docs/cli.md',
        ': option "--planted" is not in docs/cli.md'
    ] ],

    [ 'docs/cli.md', "# CLI\n\n## corral known\n\n## `corral planted there`\n"
        . "\nWith `--gone`.\n",
      [ ': command "corral planted there" is not in the code',
        ': option "--gone" is not in the code' ] ],

    [ 'controlplane/base/conf.h', <<'EOF', [

/* Planted. */


#define CORRALD_CONF_KEYS(X)                                                  \
    X(known, name, start, 1, 32, "", "x (y)", "a text")                       \
    X(planted_here, name, start, 1, 32, "", "", "a "                          \
      "text, of two lines")
EOF
        ': key "planted_here" is not in docs/corrald.yaml.md',
        ': key "planted_here" is not in conf/corrald.yaml'
    ] ],

    [ 'docs/corrald.yaml.md', "# Keys\n\n| `known` | x |\n\n## planted_there\n",
      [ ': key "planted_there" is not in the code' ] ],

    [ 'conf/corrald.yaml', "known: x\n#planted_nowhere: y\n",
      [ ': key "planted_nowhere" is not in the code' ] ],

    [ 'conf/corral.conf', "http {\n    #corral_planted_old on;\n}\n",
      [ ': directive "corral_planted_old" is not in the code' ] ],

    # the rest

    [ 'auto/planted', "#!/bin/sh\n\nrm \$1/x\n",
      command('shellcheck') ? [ ' line 3:' ] : [] ],

    [ 'deploy/planted', "https://registry.npm" . "js.org/x\n", [ ':1:https' ] ]
);

for my $plant (@plants) {
    my ($file, $text) = @$plant;

    $text =~ s/<tab>/\t/g;
    $text =~ s/<space>/ /g;
    $text =~ s/<todo>/TO\x44O/g;

    make_path(dirname("$copy/$file"));
    spurt("$copy/$file", $text);
}

# a word that only the header has

my $header = "$copy/ngx_module/common/corral_schema.h";
my $schema = slurp($header);

ok($schema =~ s/(?<=define CORRAL_WORKER_FIELDS\(X\))/ X(planted, "planted")/,
    'schema has the table of worker fields');
spurt($header, $schema);

my $after = check();

for my $plant (@plants) {
    my ($file, $text, $findings) = @$plant;

    for my $finding (@$findings) {
        my $line = $finding =~ /^ line/ ? "In $file$finding" : "$file$finding";
        found($line);
    }
}

my $module = 'ngx_module/ngx_http_corral_planted_module.c';

found("$module: directive \"corral_planted\" is not in docs/directives.md");
found("$module: directive \"corral_planted\" is not in conf/corral.conf");
found("$module: variable \"\$corral_planted_here\" is not in docs/variables.md");
found("$module: metric \"corral_planted_things_total\" is not in docs/metrics.md");
found('docs/schema.md: the tables are not those of');

# what is right, or excused, is not found

for my $line ("$module:45:", "$module:61:", "$module:28:",
    'controlplane/api/planted.h:', 'controlplane/store/planted.h:',
    'route "PUT /api/v1/known"', 'command "corral known"', 'key "known"')
{
    is(index($after, $line), -1, "not found: $line");
}

like($after, qr/^exit status 1$/m, 'status tells it');

###############################################################################

# whitespace that git sees, in a file that no check of ours reads

SKIP: {
    skip 'no git', 1 unless command('git');

    my $git = "git -C $copy -c user.name=x -c user.email=x\@localhost";

    system("$git init -q && $git add -A && $git commit -qm planted") == 0
        or die 'git';

    spurt("$copy/docs/planted.md", "<<<<<<< HEAD\nx\n=======\n");
    system("$git add -A") == 0 or die 'git';

    like(check(), qr/^docs\/planted.md:1: leftover conflict marker/m,
        'found: conflict marker');
}

###############################################################################

# lockcheck: a program in place of nginx, linked as nginx is

SKIP: {
    my $cc = $ENV{CC} || 'gcc';

    skip "no $cc", 4 unless command($cc);

    spurt("$copy/locks.c", <<'EOF');
void ngx_shmtx_lock(void *m);
void ngx_shmtx_unlock(void *m);
unsigned long ngx_shmtx_trylock(void *m);

void ngx_shmtx_lock(void *m) { }
void ngx_shmtx_unlock(void *m) { }
unsigned long ngx_shmtx_trylock(void *m) { return 1; }
EOF

    spurt("$copy/main.c", <<'EOF');
void ngx_shmtx_lock(void *m);
void ngx_shmtx_unlock(void *m);
void ngx_slab_alloc_locked(void);

static volatile int  n;

static void ngx_http_corral_own_locked(void) { n++; }
void ngx_slab_alloc_locked(void) { n++; }

int
main(int argc, char **argv)
{
    ngx_shmtx_lock((void *) &n);
    ngx_http_corral_own_locked();
    ngx_slab_alloc_locked();
    ngx_shmtx_unlock((void *) &n);

    if (argc > 1) {
        if (argv[1][0] == 'o') {
            ngx_http_corral_own_locked();
        } else {
            ngx_slab_alloc_locked();
        }
    }

    return n == 0;
}
EOF

    my $cflags = flags($cc, 'cflags') . ' ' . flags($cc, 'ngx_cflags');
    (my $ldflags = flags($cc, 'ngx_ldflags')) =~ s/\S+\.o\b//g;

    is(system("cd $copy && $cc -O -c auto/lockcheck.c"
            . " && $cc $cflags -rdynamic main.c locks.c lockcheck.o $ldflags"
            . " -o locks"), 0, 'lockcheck builds');

    is(system("$copy/locks"), 0, 'with the lock');
    like(scalar `$copy/locks own 2>&1`,
        qr/ngx_http_corral_own_locked\(\) without a mutex/,
        'found: a static function without the lock');
    like(scalar `$copy/locks slab 2>&1`,
        qr/ngx_slab_alloc_locked\(\) without a mutex/,
        'found: a slab function without the lock');
}

done_testing();

###############################################################################

sub found {
    my ($line) = @_;

    ok(index($after, $line) >= 0 && index($before, $line) < 0, "found: $line");
}

sub check {
    my $out = `cd $copy && sh auto/check 2>&1`;
    return $out . 'exit status ' . ($? >> 8) . "\n";
}

sub flags {
    my ($cc, $what) = @_;
    chomp(my $flags = `$root/auto/kinds lockcheck $cc $what`);
    return $flags;
}

sub command {
    my ($name) = @_;
    return system("command -v $name > /dev/null 2>&1") == 0;
}

sub slurp {
    my ($file) = @_;
    open my $fh, '<', $file or die "$file: $!";
    local $/;
    return scalar <$fh>;
}

sub spurt {
    my ($file, $text) = @_;
    open my $fh, '>', $file or die "$file: $!";
    print $fh $text;
    close $fh or die "$file: $!";
}
