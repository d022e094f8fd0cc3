#!/usr/bin/perl

# Tests for the harness: each of its automatic checks can fail.  Needs nginx, not
# Corral.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

use File::Temp qw/tempdir/;

my $t = Test::Corral->new()->has(qw/nginx/);
my $dir = tempdir('corral-XXXXXXXX', TMPDIR => 1, CLEANUP => 1);
my $n = 0;

# [ name, check that must fail, code of the test ]

my @cases = (
    [ 'nginx was not started', 'nginx started', '' ],
    [ 'nginx cannot start', 'nginx started',
        '$t->write_file("nginx.conf", "nonsense;\n"); eval { $t->run() };' ],
    [ 'an alert', 'no alerts', '$t->run();'
        . 'open my $l, ">>", $t->testdir() . "/error.log";'
        . 'print $l "2026/01/01 00:00:00 [alert] 1#1: boom\n";' ],
    [ 'an expected alert that did not come', 'no alerts',
        '$t->expect_alert(qr/boom/)->run();' ],
    [ 'a report of a sanitizer', 'no sanitizer or lock errors', '$t->run();'
        . '$t->write_file("sanitizer.nginx.1", "ERROR: AddressSanitizer\n");' ],
    [ 'a report of lockcheck', 'no sanitizer or lock errors', '$t->run();'
        . 'open my $l, ">>", $t->testdir() . "/error.log";'
        . 'print $l "lockcheck: x_locked() without a mutex\n";' ],
    [ 'a process that stays', 'no process left', '$t->run();'
        . 'unless (fork()) { chdir $t->testdir(); POSIX::setsid();'
        . '  exec "sleep", "60" }' ],
    [ 'a core', 'no core', '$t->run()->write_file("core.1", "x");' ],
    [ 'a connection that is never given back', 'all counts back to zero',
        '$t->write_file_expand("nginx.conf", $conf =~ s/:0,/:1,/r)->run();' ],
    [ 'a status that does not answer', 'all counts back to zero',
        '$t->write_file_expand("nginx.conf", $conf =~ s/ 200 / 500 /r)'
            . '->run();' ],
    [ 'nothing wrong', '', '$t->run();' ],
);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(2 * @cases + 8);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    server {
        listen  127.0.0.1:8080;

        proxy_http_version  1.1;

        location / {
            proxy_set_header  Upgrade $http_upgrade;
            proxy_set_header  Connection upgrade;
            proxy_pass        http://127.0.0.1:8081;
        }
    }
}

EOF

###############################################################################

# all run at once: some wait for what does not happen

my @running = map { start($_->[2]) } @cases;

for my $case (@cases) {
    my ($name, $check) = @$case;

    my ($exit, $out) = result(shift @running);
    my @failed = $out =~ /^not ok \d+ - (.*)$/mg;

    ok($check ? $exit != 0 : $exit == 0, "$name: exit code $exit");
    is(join(', ', grep { $_ eq $check } @failed), $check, $name)
        or diag($out);
}

# client and agent understand each other, through nginx's own tunnel

my $agent = $t->agent(id => 'a', port => 8081);
$t->run();

my $ws = $t->websocket('/x');
ok($ws->accepted(), 'handshake');
is($ws->numbered(20, 70_000), '', 'messages');
is($agent->stats()->{messages}, 20, 'agent counted them');
is($ws->close(4000), 4000, 'close');

# a message that is lost or changed is noticed

$agent->set(prefix => 'x');
like($t->websocket('/')->numbered(1), qr/sent n1, got xn1/, 'changed message');
$agent->set(echo => 0);
$ws = $t->websocket('/');
$ws->{timeout} = 0.1;
like($ws->numbered(1), qr/sent n1, got nothing/, 'lost message');

# reload and upgrade bring other processes

my @before = ($t->master(), $t->workers());
ok($t->reload(), 'reload');
$t->upgrade();
is(scalar(grep { my $pid = $_; grep { $_ == $pid } @before }
    $t->master(), $t->workers()), 0, 'all others after an upgrade');

###############################################################################

# Starts a small test of its own.

sub start {
    my ($code) = @_;

    my $file = $dir . '/' . ++$n . '.t';

    open my $fh, '>', $file or die "Can't write $file: $!\n";
    print $fh <<'EOF', $code;
use warnings;
use strict;
use Test::More;
use Test::Corral;
use POSIX qw//;

# a server that answers as the status location does

my $conf = <<'EOC';
%%TEST_GLOBALS%%
events {
}
http {
    %%TEST_GLOBALS_HTTP%%
    server {
        listen 127.0.0.1:8080;
        location = /status {
            return 200 '{"services":[{"instances":[{"instance_id":"i","active":0,"reserved":0}]}]}';
        }
    }
}
EOC

my $t = Test::Corral->new();
$t->{status_uri} = [ '/status', 8080 ];
$t->write_file_expand('nginx.conf', $conf)->plan(1);
pass('first');
EOF
    close $fh;

    open my $out, '-|', "$^X -I$FindBin::Bin/lib $file 2>&1"
        or die "Can't run $file: $!\n";

    return $out;
}

# Its exit code and its output.

sub result {
    my ($fh) = @_;

    local $/;
    my $out = <$fh>;
    close $fh;

    return ($? >> 8, $out);
}

###############################################################################
