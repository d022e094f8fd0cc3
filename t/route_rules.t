#!/usr/bin/perl

# Tests for rules in corral_service_from: what each field is, that none passes
# for another, order, targets, strategies, fallback, and hints that work only
# where the location allows them.

###############################################################################

use warnings;
use strict;

use JSON::PP;
use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status/);

my @names = qw/a b c d/;
my %agents = map { $_ => $t->agent(id => $_, socket => "$_.sock") } @names;

my @services = (
    { name => 'a', tags => [ 'gpu', 'blue' ] }, { name => 'b' },
    { name => 'c', tags => [ 'gpu' ] }, { name => 'd', tags => [ 'red' ] },
    { name => 'down', tags => [ 'dead' ] },
);
my @instances = map { $agents{$_}->instance($_) } @names;

# each a path of its own, so that one file tests them all

my @fields = (
    [ path => 'equals', '/f/path' ],
    [ host => 'in_list', 'x.test,y.test' ],
    [ method => 'equals', 'POST' ],
    [ client_ip => 'ip_in_range', '127.0.0.0/8' ],
    [ client_port => 'greater_than', '1023' ],
    [ user_agent => 'starts_with', 'probe/' ],
    [ subprotocol => 'equals', 'v2.chat' ],
    [ 'header.x-tier' => 'equals', 'gold' ],
    [ 'query.n' => 'less_or_equal', '10' ],
    [ 'cookie.plan' => 'not_in_list', 'free,none' ],
    [ tenant => 'exists', '' ],
    [ 'claim.sub' => 'exists', '' ],
    [ service => 'ends_with', '-x' ],
    [ 'request.flag' => 'regex_match', '^o[nk]$' ],
);

my @rules = map { {
    name => "field $_->[0]", target_services => [ 'b' ],
    conditions => [
        { field => 'path', operator => 'equals', value => "/f/$_->[0]" },
        { field => $_->[0], operator => $_->[1], value => $_->[2] } ],
} } @fields;

push @rules, (
    rule('off', '/order', 'd', enabled => JSON::PP::false(), priority => -1),
    rule('z first', '/order', 'b', priority => 5),
    rule('a late', '/order', 'c', priority => 6),
    rule('name 2', '/same', 'c'), rule('name 1', '/same', 'b'),
    rule('gone', '/gone', 'nobody', priority => 1),
    rule('then', '/gone', 'c', priority => 2),
    rule('fallback', '/fallback', 'down', fallback_service => 'd'),
    rule('unready', '/unready', 'down'),
    rule('robin', '/robin', [ 'a', 'b', 'down' ],
        weights => { a => 3, b => 1 }),
    rule('manual', '/manual', [ 'down', 'c', 'a' ],
        target_strategy => 'manual'),
    rule('hash', '/hash', [ 'a', 'b', 'c', 'd' ], hash_key => 'query.u',
        target_strategy => 'hash_based'),
    rule('session', '/session', [ 'a', 'b', 'c', 'd' ], hash_key => 'session',
        target_strategy => 'hash_based'),
    rule('random', '/random', [ 'a', 'b' ], target_strategy => 'random'),
    rule('shares', '/shares', [ 'a', 'b' ], weights => { b => 0 },
        target_strategy => 'weighted_random'),
    rule('least', '/least', [ 'a', 'b' ],
        target_strategy => 'least_connections'),
    rule('tags', '/tags', [], target_tags => [ 'blue', 'gpu' ]),
    rule('all', '/all', []),
    rule('regex', '/slow', 'c', conditions => [
        { field => 'query.x', operator => 'regex_match',
            value => '^(a+)+$' } ]),
);

$t->state_file(services => \@services, instances => \@instances,
    rules => \@rules,
    lines => [
        '{"kind":"rule","rule_id":"bad","name":"bad","conditions":'
            . '[{"field":"path","operator":"regex_match","value":"("}]}',
        '{"kind":"rule","rule_id":"worse","name":"worse","hash_key":"x"}' ]);

$t->write_file_expand('nginx.conf', <<'EOC')->plan(74);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    log_format  rule  '$uri "$corral_rule" $corral_service';
    access_log  %%TESTDIR%%/rule.log  rule;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version  1.1;
        proxy_set_header    Connection "";

        location / {
            corral_service_from  rules query tag path;
            corral_websocket     agents;
            proxy_pass           http://agents;
        }

        location /agents/ {
            corral_service_from  path rules;
            proxy_pass           http://agents;
        }

        location /only/ {
            corral_service_from  rules;
            proxy_pass           http://agents;
        }

        location /named/ {
            corral_service_from  tag=kind rules;
            corral_service       d;
            proxy_pass           http://agents;
        }

        location /ws {
            corral_service_from  rules query;
            corral_websocket     agents;
            proxy_pass           http://agents;
        }

        location = /status { corral_status; }
    }
}

EOC

$t->run()->wait_for_revision(1);

###############################################################################

is($t->status()->{rules}, scalar @rules, 'rules are known');
is($t->status()->{refused}, 2, 'broken ones are refused');
like($t->read_file('error.log'), qr/rule "bad": condition 1 on "path": the /,
    'with a reason');

# fields

is(agent('/f/path'), 'b', 'path');
is(agent('/f/path/'), 404, 'another path');
is(agent('/f/host', 'Host: Y.test:80'), 'b', 'host');
is(agent('/f/host', 'Host: z.test', 'X-Host: x.test'), 404, 'another host');
is(post('/f/method'), 'b', 'method');
is(agent('/f/method?method=POST', 'Method: POST'), 404, 'another method');
is(agent('/f/client_ip'), 'b', 'client_ip');
is(agent('/f/client_port'), 'b', 'client_port');
is(agent('/f/user_agent', 'User-Agent: Probe/1'), 'b', 'user_agent');
is(agent('/f/user_agent?user_agent=probe/1'), 404, 'no user_agent');
is(agent('/f/subprotocol', 'Sec-WebSocket-Protocol: v1.chat , v2.chat'), 'b',
    'subprotocol');
is(agent('/f/subprotocol', 'Sec-WebSocket-Protocol: v2.chats'), 404,
    'another subprotocol');
is(agent('/f/header.x-tier', 'X-TIER: Gold'), 'b', 'header');
is(agent('/f/header.x-tier', 'X-Tier: a', 'X-Tier: gold'), 'b',
    'the second header');
is(agent('/f/header.x-tier?x-tier=gold', 'Cookie: x-tier=gold'), 404,
    'an argument is no header');
is(agent('/f/query.n?m=1&%6e=%31%30'), 'b', 'query');
is(agent('/f/query.n?n=11'), 404, 'a greater number');
is(agent('/f/query.n', 'N: 1'), 404, 'a header is no argument');
is(agent('/f/cookie.plan', 'Cookie: a=b; plan=pro'), 'b', 'cookie');
is(agent('/f/cookie.plan', 'Cookie: a=b; plan=Free'), 404, 'in the list');
is(agent('/f/cookie.plan'), 'b', 'no cookie is in no list');
is(agent('/f/tenant?tenant=x', 'Tenant: x', 'Corral-Tenant: x',
    'X-Corral-Tenant: x'), 404, 'a client is no tenant by saying so');
is(agent('/f/claim.sub?claim.sub=x&sub=x', 'Claim.sub: x'), 404, 'no claim');
is(agent('/f/service?service=y-x'), 'b', 'service');
is(agent('/f/request.flag', 'Flag: on'), 'b', 'request: header');
is(agent('/f/request.flag?flag=ok'), 'b', 'request: argument');
is(agent('/f/request.flag?flag=ok', 'Flag: off'), 404,
    'the header goes before the argument');
is(agent('/order?client_ip=10.0.0.1', 'Client_ip: 10.0.0.1'), 'b',
    'others do not matter');

# order

is(agent('/order'), 'b', 'priority');
is(agent('/same'), 'b', 'then the name');
is(agent('/gone'), 'c', 'a rule without any target is passed over');

# targets and strategies

is(agent('/fallback'), 'd', 'fallback');
is(agent('/unready'), 503, 'no fallback: the target is waited for');
is(count(40, '/robin'), 'a30 b10', 'round robin by weights');
is(agent('/manual'), 'c', 'manual: the first that is ready');
like(count(40, '/random'), qr/^a\d+ b\d+$/, 'random');
is(count(20, '/shares'), 'a20', 'a share of 0 is none');
is(count(20, '/tags'), 'a10 c10', 'any of the tags, each service once');
is(count(40, '/all'), 'a10 b10 c10 d10', 'all');

my %sticky = map { my $u = $_; $u => count(4, "/hash?u=$u") } 1 .. 20;
is(scalar(grep { !/^[abcd]4$/ } values %sticky), 0, 'hash sticks');
cmp_ok(scalar(keys %{{ reverse %sticky }}), '>', 1, 'and spreads');

%sticky = map { $_ => count(3, "/session?session_id=$_") } 1 .. 20;
is(scalar(grep { !/^[abcd]3$/ } values %sticky), 0, 'session sticks');
cmp_ok(scalar(keys %{{ reverse %sticky }}), '>', 1, 'and spreads');

my $busy = $t->websocket('/least');
my ($held) = grep { $t->counts()->{$_} } qw/a b/;
ok($held, 'one connection is open');
is(count(4, '/least'), ($held eq 'a' ? 'b' : 'a') . '4', 'least connections');
is($busy->close(), 1000, 'it is closed');

# hints

is(agent('/x?service=c'), 'c', '?service=');
is(agent('/x?tag=red'), 'd', '?tag=');
is(count(8, '/x?tag=gpu'), 'a4 c4', '?tag= of several');
is(agent('/x?tag=%67pu&service=b'), 'b', 'query stands before tag');
is(agent('/x?tag=none'), 404, 'no such tag');
is(agent('/x?tag=dead'), 503, 'a tag without a ready instance');
is(agent('/x'), 404, 'no hint and no rule');
is(agent('/order?service=d'), 'b', 'a rule goes before the hint');
is(agent('/only/x?service=c&tag=red'), 404, 'hints that are not allowed');
is(agent('/named/x?kind=red'), 'd', 'tag with another name');
is(agent('/named/x?tag=gpu'), 'd', 'else the fixed service');
is(agent('/agents/c/x'), 'c', 'path before rules');
is(agent('/slow?x=' . 'a' x 20), 'c', 'a pattern');

# a pattern that takes too long is no match, and is told once

is(agent('/slow?x=' . 'a' x 3000 . 'b'), 404, 'a pattern that takes too long');
is(agent('/slow?x=' . 'a' x 3000 . 'b'), 404, 'again');
is(scalar(() = $t->read_file('error.log') =~ /rule "regex" hit the limit/g), 1,
    'is told once');

# the name of the rule, for logs; also of a WebSocket

my $ws = $t->websocket('/ws?n=1', headers => [ 'X-Ws: 1' ]);
ok(!$ws || $ws->status() == 404, 'no rule for the WebSocket yet');

$t->state_file(revision => 2, services => \@services, instances => \@instances,
    rules => [ @rules, rule('socket', '/ws', 'c') ]);
$t->reload();
$t->wait_for_revision(2);

$ws = $t->websocket('/ws');
is($ws->ask('hello'), 'hello', 'a WebSocket by a rule');
is($ws->close(), 1000, 'closed');

ok($t->wait_for_log(qr{^/ws "socket" c$}m, 'rule.log'), 'its rule is logged');
like($t->read_file('rule.log'), qr{^/order "z first" b$}m, 'of HTTP, too');
like($t->read_file('rule.log'), qr{^/x "-" c$}m, 'none');

# the rules come back from the image of the zone

is($t->status()->{rules}, @rules + 1, 'rules after a reload');
$t->reload();
ok(wait_for(sub { ($t->status()->{rules} // 0) == @rules + 1 }),
    'rules from the image');
is(agent('/robin') =~ /^[ab]$/, 1, 'and they work');

###############################################################################

sub rule {
    my ($name, $path, $target, %rest) = @_;
    my $conditions = delete $rest{conditions} // [];
    return { name => $name,
        target_services => ref $target ? $target : [ $target ],
        conditions => [ { field => 'path', operator => 'equals',
            value => $path }, @$conditions ], %rest };
}

sub got {
    my ($r) = @_;
    return $r =~ m{^HTTP/1.1 200 } ? http_body($r, json => 1)->{agent}
        : $r =~ m{^HTTP/1.1 (\d+)} ? $1 : $r;
}

sub agent {
    my ($uri, @headers) = @_;
    return got(http_get($uri, headers => \@headers));
}

sub post {
    my ($uri) = @_;
    return got(http_post($uri, '{}'));
}

sub count {
    my ($n, $uri) = @_;
    my %seen;
    $seen{agent($uri)}++ for 1 .. $n;
    return join ' ', map { "$_$seen{$_}" } sort keys %seen;
}

###############################################################################
