#!/usr/bin/perl

# Tests for the directives: each wrong use is refused with a sentence that names
# the value and with the line it stands in.

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

# [ name, where, directives, sentence ]

my $http = <<'EOF';
corral_zone corral 4m;
upstream agents { corral; }
EOF

my @wrong = (

    # the core

    [ 'no zone', http => 'corral_state_file /x;', qr/needs a "corral_zone"/ ],
    [ 'zone twice', http => "corral_zone a 4m;\ncorral_zone b 4m;",
        qr/"corral_zone" directive is duplicate/ ],
    [ 'zone without a size', http => 'corral_zone a;',
        qr/invalid number of arguments in "corral_zone"/ ],
    [ 'zone of a bad size', http => 'corral_zone a big;',
        qr/invalid size "big"/ ],
    [ 'zone too small', http => 'corral_zone a 8k;', qr/"8k".*too small/ ],
    [ 'zone of another module', http =>
        "limit_req_zone \$uri zone=a:1m rate=1r/s;\ncorral_zone a 4m;",
        qr/zone "a"/ ],
    [ 'state file twice', http =>
        "corral_zone a 4m;\ncorral_state_file /x;\ncorral_state_file /y;",
        qr/"corral_state_file" directive is duplicate/ ],
    [ 'bad name of a node', http => "corral_zone a 4m;\ncorral_node a/b;",
        qr{invalid name "a/b" of corral_node} ],
    [ 'bad name of a cluster', http => 'corral_cluster .a;',
        qr/invalid name "\.a" of corral_cluster/ ],
    [ 'bad name of a gateway', http => 'corral_gateway "";',
        qr/invalid name "" of corral_gateway/ ],
    [ 'redis of another scheme', http =>
        "corral_zone a 4m;\ncorral_redis http://x;", qr/corral_redis: / ],
    [ 'redis with a bad port', http =>
        "corral_zone a 4m;\ncorral_redis redis://x:99999;",
        qr/corral_redis: / ],

    # identity and route

    [ 'what becomes of requests', location => 'corral_revocation_stale drop;',
        qr/invalid value "drop": "pass", or "refuse"/ ],
    [ 'time of pass', location => 'corral_revocation_stale pass 5s;',
        qr/invalid value "pass"/ ],
    [ 'too short a time', location => 'corral_revocation_stale refuse 1s;',
        qr/invalid time "1s", it is at least 3s/ ],
    [ 'stale without Redis', location => 'corral_revocation_stale refuse;',
        qr/needs "corral_redis"/ ],
    [ 'tenant twice', location => "corral_tenant a;\ncorral_tenant b;",
        qr/"corral_tenant" directive is duplicate/ ],
    [ 'claim twice', location => "corral_claim a x;\ncorral_claim a y;",
        qr/"corral_claim" directive is duplicate/ ],
    [ 'name of a claim', location => 'corral_claim "a b" x;',
        qr/invalid name "a b" of corral_claim: up to 64 bytes/ ],
    [ 'too many claims', location => join("\n",
        map { "corral_claim c$_ x;" } 1 .. 33), qr/more than 32 corral_claim/ ],
    [ 'bad origin', location => 'corral_origin example.com;',
        qr{invalid origin "example.com".*https://} ],
    [ 'origin twice', location => "corral_origin same;\ncorral_origin any;",
        qr/"corral_origin" directive is duplicate/ ],
    [ 'bad place', location => 'corral_service_from body;',
        qr/invalid place "body".*"path"/ ],
    [ 'prefix without a slash', location => 'corral_service_from path=/x;',
        qr{invalid place "path=/x"} ],
    [ 'empty name of a query', location => 'corral_service_from query=;',
        qr/invalid place "query="/ ],
    [ 'service twice', location => "corral_service a;\ncorral_service b;",
        qr/"corral_service" directive is duplicate/ ],
    [ 'service in the wrong block', http =>
        "corral_zone a 4m;\ncorral_service x;",
        qr/"corral_service" directive is not allowed here/ ],
    [ 'location without a zone', bare => 'corral_service_from path;',
        qr/"corral_service_from" needs a "corral_zone"/ ],

    # upstream

    [ 'upstream with a server', http =>
        "corral_zone a 4m;\nupstream x { corral; server 127.0.0.1:1; }",
        qr/upstream "x".*remove "server"/ ],
    [ 'corral twice', http => "corral_zone a 4m;\nupstream x {\ncorral;\n"
        . "corral;\n}", qr/"corral" directive is duplicate/ ],
    [ 'behind another balancer', http =>
        "corral_zone a 4m;\nupstream x {\nleast_conn;\ncorral;\n}",
        qr/"corral" directive must stand before/ ],
    [ 'balance before corral', http =>
        "corral_zone a 4m;\nupstream x {\ncorral_balance hash;\ncorral;\n}",
        qr/"corral_balance" directive must stand behind "corral"/ ],
    [ 'unknown method', http =>
        "corral_zone a 4m;\nupstream x {\ncorral;\ncorral_balance best;\n}",
        qr/invalid method "best".*"round_robin"/ ],
    [ 'bad hash key', http =>
        "corral_zone a 4m;\nupstream x {\ncorral;\ncorral_balance hash "
        . "body;\n}", qr/invalid parameter "body".*"client_ip"/ ],
    [ 'parameter of round robin', http =>
        "corral_zone a 4m;\nupstream x {\ncorral;\ncorral_balance round_robin "
        . "x;\n}", qr/invalid parameter "x"/ ],
    [ 'upstream without a zone', http => 'upstream x { corral; }',
        qr/"corral" needs a "corral_zone"/ ],

    # websocket

    [ 'unknown upstream', location =>
        "corral_service a;\ncorral_websocket nowhere;", qr/"nowhere"/ ],
    [ 'websocket twice', location => "corral_service a;\n"
        . "corral_websocket agents;\ncorral_websocket agents;",
        qr/"corral_websocket" directive is duplicate/ ],
    [ 'bad time', location => "corral_idle_timeout soon;",
        qr/"corral_idle_timeout" directive invalid value/ ],
    [ 'bad location of a mirror', location => "corral_mirror mirror;",
        qr/invalid value "mirror" of corral_mirror: "off", or the path/ ],
    [ 'mirror twice', location => "corral_mirror off;\ncorral_mirror /m;",
        qr/"corral_mirror" directive is duplicate/ ],
    [ 'bad size', location => "corral_max_message_size much;",
        qr/"corral_max_message_size" directive invalid value/ ],
    [ 'bad rate', location => "corral_message_rate -1;",
        qr/invalid rate "-1" in corral_message_rate, it must be between 0/ ],
    [ 'bad burst', location => "corral_message_rate 10 burst=0;",
        qr/invalid parameter "burst=0" of corral_message_rate/ ],
    [ 'bad rate parameter', location => "corral_message_rate 10 nodelay;",
        qr/invalid parameter "nodelay" of corral_message_rate/ ],
    [ 'two rates', location => "corral_message_rate 1; corral_message_rate 2;",
        qr/"corral_message_rate" directive is duplicate/ ],
    [ 'renewal by a name', location => "corral_token_renew renew;",
        qr{invalid value "renew" of corral_token_renew: "off", or the path} ],
    [ 'renewal twice', location =>
        "corral_token_renew /a;\ncorral_token_renew /b;",
        qr/"corral_token_renew" directive is duplicate/ ],
    [ 'bad byte rate', location => "corral_byte_rate 5g;",
        qr/"corral_byte_rate" directive must be at most 4g/ ],
    [ 'bad lifetime', location => "corral_max_lifetime 8d;",
        qr/"corral_max_lifetime" directive must be at most 7d/ ],
    [ 'bad number', location => "corral_tries none;",
        qr/"corral_tries" directive invalid number/ ],
    [ 'bad condition', location => "corral_next_upstream never;",
        qr/invalid value "never"/ ],

    # metrics

    [ 'status with an argument', location => 'corral_status json;',
        qr/invalid number of arguments in "corral_status"/ ],
);

$t->plan(2 * @wrong + 3);

###############################################################################

my ($ok, $out) = $t->test_config(config('location', <<'EOF'));
corral_service_from     path=/a/ path query=agent header=x-agent;
corral_origin           https://one.example https://two.example;
corral_websocket        agents;
corral_connect_timeout  1s;
corral_handshake_timeout 2s;
corral_idle_timeout     1h;
corral_ping_interval    30s;
corral_ping_timeout     10s;
corral_close_timeout    5s;
corral_max_message_size 1m;
corral_max_message_size_out 2m;
corral_max_lifetime     7d;
corral_message_rate     10 burst=20 delay;
corral_byte_rate        1m;
corral_byte_rate_out    4g;
corral_tries            2;
corral_next_upstream    error timeout;
proxy_pass              $corral_scheme://agents;
EOF

is($out =~ s/^.*(syntax is ok|test is successful)\n//mgr, '',
    'nothing is said of a right configuration');
ok($ok, 'it is accepted');

for my $case (@wrong) {
    my ($name, $where, $directives, $sentence) = @$case;

    my $config = config($where, $directives);
    my ($ok, $out) = $t->test_config($config);

    like($ok ? 'accepted' : $out, $sentence, $name);

    # nginx says which line; what is found out at the end of a block has none

    my ($line) = $out =~ /test\.conf:(\d+)$/m;

    ok($line || $out =~ /needs a|corral_redis|in \S+:\d+/,
        "$name, with a place");
}

# corral_redis does not show a password

($ok, $out) = $t->test_config(config('http',
    "corral_zone a 4m;\ncorral_redis redis://u:secret\@x:99999;"));
unlike($out, qr/secret/, 'no password in a message');

###############################################################################


sub config {
    my ($where, $directives) = @_;

    my %in = (http => '', location => '', bare => '', $where => $directives);
    $in{http} = $http if $where eq 'location';
    $in{location} .= $in{bare};

    return <<EOF;

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

$in{http}

    server {
        listen  127.0.0.1:8080;

        location / {
$in{location}
        }
    }
}

EOF
}

###############################################################################
