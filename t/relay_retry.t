#!/usr/bin/perl

# Tests for retries of a handshake: another instance is asked, the client does not
# notice, and the budget is kept.

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

$t->state_file(services => [ { name => 'echo', max_fails => 0 } ],
    instances => [ map { $_->instance('echo') } $one, $two ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(20);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    log_format  tries  '$corral_instance $status $upstream_addr [$upstream_status]';
    access_log  %%TESTDIR%%/tries.log  tries;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            corral_websocket     agents;
            corral_next_upstream  error timeout http_503;
            corral_close_timeout  300ms;
        }

        location = /status { corral_status; access_log off; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# refused, reset, closed or 503 instead of an answer

$one->refuse();
is(served(4), 'echo.2' x 4, 'refused');
like($t->wait_for_log(qr/^echo\.2 101 \S+, \S+ \[502, 101\]$/m, 'tries.log'),
    qr/101/, 'both tries are logged');
$one->listen();

for my $mode (qw/reset drop 503/) {
    my $before = $one->stats()->{requests};
    $one->set(mode => $mode);
    is(served(4), 'echo.2' x 4, "$mode: another one serves");
    cmp_ok($one->stats()->{requests}, '>', $before, "$mode: was tried");
}

# what is not in the list goes to the client, whole

$one->set(mode => 418);
my @status = sort map { $t->websocket('/agents/echo/')->status() } 1 .. 2;
is("@status", '101 418', 'other answers are passed');
$t->close_clients();

# all fail: the last answer, or a problem

$one->set(mode => 503);
$two->set(mode => 503);
my $ws = $t->websocket('/agents/echo/');
is($ws->status(), 503, 'last answer of an agent');
like($ws->body(), qr/^agent echo\.[12] says 503$/, 'as it was');

$one->refuse();
$two->refuse();
$ws = $t->websocket('/agents/echo/');
is($ws->status(), 502, 'no answer at all');
is($ws->header('content-type'), 'application/problem+json', 'a problem');

$one->set(mode => 'ok');
$two->set(mode => 'ok');
$one->listen();
$two->listen();
is(length served(4), 24, 'both are back');

# counts follow the instance that serves

$one->refuse();
my @ws = map { $t->websocket('/agents/echo/') } 1 .. 4;
is_deeply($t->wait_for_counts({ 'echo.1' => 0, 'echo.2' => 4 }),
    { 'echo.1' => 0, 'echo.2' => 4 }, 'counted where it is');
is($two->stats()->{websockets}, 4, 'agent agrees');
is($t->instance('echo.1')->{reserved}, 0, 'nothing is reserved');

$_->close() for @ws;

# the second try gets the same handshake as the first

$one->listen();
$one->set(mode => 503);
$t->websocket('/agents/echo/x?y', headers => [ 'X-A: b' ])->close() for 1, 2;

my ($first) = grep { m{/x\?y} } $one->requests();
my ($second) = grep { m{/x\?y} } $two->requests();
is($first, $second, 'the same handshake for each try');

# the client leaves while an agent is asked

$one->set(mode => 'hang');
$two->set(mode => 'hang');
$ws = $t->websocket('/agents/echo/', start => 1);
ok(wait_for(sub { $one->stats()->{open} + $two->stats()->{open} == 1 }),
    'agent is asked');
$ws->disconnect();
ok(wait_for(sub { $one->stats()->{open} + $two->stats()->{open} == 0 }),
    'client leaves meanwhile');

###############################################################################

sub served {
    my ($n) = @_;

    return join '', map {
        my $ws = $t->websocket('/agents/echo/');
        my $id = $ws->accepted() ? $ws->ask('!id') : $ws->status();
        $ws->close() if $ws->accepted();
        $id;
    } 1 .. $n;
}

###############################################################################
