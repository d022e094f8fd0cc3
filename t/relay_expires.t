#!/usr/bin/perl

# Tests for corral_expires: a WebSocket ends with its client's token, 30 seconds
# of leeway after it, with 4401.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::WebSocket qw/:frames/;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

use Time::HiRes qw/time/;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOC')->plan(22);

%%TEST_GLOBALS%%

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

        corral_expires  $arg_exp;

        location / {
            corral_service    echo;
            corral_websocket  agents;
        }

        location /undone/ {
            corral_service    echo;
            corral_websocket  agents;
            corral_expires    "";
        }

        location = /status { corral_status; }
    }
}

EOC

$t->run()->wait_for_revision(1);

###############################################################################

my $now = int time();

# within the leeway: open for what is left of it

my $ws = $t->websocket('/?exp=' . ($now - 27));
is($ws->status(), 101, 'within the leeway');
is($ws->ask('hello'), 'hello', 'open');
my $other = $t->websocket('/?exp=' . ($now + 3600));
is($other->ask('hello'), 'hello', 'one that ends later');

# in the middle of a message of its own, too

$ws->send_raw($ws->frame(TEXT, 'half', fin => 0));
is($ws->close_code(), 4401, 'then 4401');
is($ws->close_reason(), 'token expired', 'with a reason');
cmp_ok(time() - $now, '>', 2, 'not before its time');
cmp_ok(time() - $now, '<', 8, 'nor long after it');
ok($ws->ended(), 'disconnected');
ok(wait_for(sub { ($agent->stats()->{closes}[-1] // 0) == 1001 }),
    'the agent is told 1001');
ok($t->wait_for_log(qr/the token of a WebSocket has expired/), 'logged');
is((grep { $_->{name} eq 'echo' } @{ $t->status()->{services} })[0]
    {closes_expired}, 1, 'counted');
is($other->ask('still'), 'still', 'the other one is open');

# the handshake

$ws = $t->websocket('/?exp=' . (int(time()) - 31));
is($ws->status(), 401, 'expired before');
like($ws->body(), qr/"code":"token_expired"/, 'and told so');

for my $value ('soon', '0', '-5', '1e9', '99999999999999999999') {
    is($t->websocket("/?exp=$value")->status(), 403, "no time: $value");
}

is($t->websocket('/')->status(), 101, 'no token: never');
is($t->websocket('/?exp=253402300799')->ask('x'), 'x', 'a far one');
is($t->websocket('/undone/?exp=1')->status(), 101, 'undone');

###############################################################################
