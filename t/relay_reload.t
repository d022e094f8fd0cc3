#!/usr/bin/perl

# Tests for reloads: messages go on through ten of them, an old worker ends with
# its last connection, and counts are right all the time.

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

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $one = $t->agent(id => 'echo.1', port => 8081);
my $two = $t->agent(id => 'echo.2', port => 8082);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ map { $_->instance('echo') } $one, $two ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(12);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            corral_websocket     agents;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

my @ws = map { $t->websocket('/agents/echo/') } 1 .. 6;
my @first = $t->workers();

is_deeply($t->wait_for_counts({ 'echo.1' => 3, 'echo.2' => 3 }),
    { 'echo.1' => 3, 'echo.2' => 3 }, 'before');

# ten reloads; every connection sends during each of them

my ($reloads, $lost, $new) = (0, '', 0);

for (1 .. 10) {
    $reloads += $t->reload();
    $lost .= $_->numbered(3) for @ws;
    my $fresh = $t->websocket('/agents/echo/');
    $new++ if ($fresh->ask('hello') // '') eq 'hello';
    $fresh->close();
}

is($reloads, 10, 'reloads');
is($lost, '', 'no message lost');
is($new, 10, 'new connections are served');

# old workers hold connections and are known as such

my @old = $t->workers(1);

cmp_ok(scalar @old, '>=', 1, 'old workers stay while they are needed');
is(scalar(grep { my $pid = $_; grep { $_ == $pid } @first } @old),
    scalar @old, 'only those of the first configuration');
is_deeply($t->wait_for_counts({ 'echo.1' => 3, 'echo.2' => 3 }),
    { 'echo.1' => 3, 'echo.2' => 3 }, 'counted by the new workers, too');
is(scalar(grep { $_->{exiting} } @{ $t->status()->{processes} }),
    scalar @old, 'status knows them');
is($one->stats()->{websockets} + $two->stats()->{websockets}, 6,
    'agents agree');

# the last connection of an old worker: it ends

$_->close() for @ws;

ok(wait_for(sub { !$t->workers(1) }, 5), 'old workers end');
is_deeply($t->wait_for_counts({ 'echo.1' => 0, 'echo.2' => 0 }),
    { 'echo.1' => 0, 'echo.2' => 0 }, 'nothing is held');
ok(wait_for(sub { @{ $t->status()->{processes} } == 2 }, 3),
    'nor are their places');

###############################################################################
