#!/usr/bin/perl

# Tests for who the client is: corral_tenant, corral_subject and corral_claim are
# evaluated behind auth_request and all of "satisfy", and before rules, balancing,
# affinity and the log ask for them.

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

my %agents = map { $_ => $t->agent(id => $_, port => 8081 + ord($_) - 97) }
    qw/a b c/;

my @services = map { { name => $_ } } qw/a b c/;
my @instances = map { $agents{$_}->instance($_) } qw/a b c/;

for ([ sticky => affinity => 'claim.user' ],
    [ person => affinity => 'subject' ],
    [ hashed => balance => 'hash', hash_key => 'claim.none subject' ],
    [ moves => affinity => 'claim.user', failover => 'reattach',
        max_fails => 0 ])
{
    my ($name, @fields) = @$_;
    push @services, { name => $name, @fields };
    push @instances, map { { %{ $agents{$_}->instance($name) },
        id => "$name.$_" } } qw/a b c/;
}

my @fields = (
    [ tenant => 'equals', 'acme' ],
    [ 'claim.plan' => 'in_list', 'gold, platinum' ],
    [ 'claim.level' => 'greater_than', '9.5' ],
    [ 'claim.Plan' => 'exists', '' ],
    [ 'claim.level' => 'not_equals', '7' ],
);

my $n = 0;
my @rules = map { {
    name => "f/$_->[0]/$_->[1]", priority => $n++, target_services => [ 'b' ],
    conditions => [ { field => 'path', operator => 'equals',
            value => "/f/$_->[0]/$_->[1]" },
        { field => $_->[0], operator => $_->[1], value => $_->[2] } ],
} } @fields;

push @rules, { name => 'canary', target_services => [ qw/a b c/ ],
    target_strategy => 'hash_based', hash_key => 'subject',
    force_by => 'claim.beta',
    conditions => [ { field => 'path', operator => 'equals',
        value => '/canary' } ] };

$t->state_file(services => \@services, instances => \@instances,
    rules => \@rules);

$t->write_file_expand('nginx.conf', <<'EOC')->plan(61);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    log_format  who  '$uri "$corral_tenant" "$corral_subject"';
    access_log  %%TESTDIR%%/who.log  who;

    upstream agents {
        corral;
    }

    map $arg_space $space_before { before ' '; }
    map $arg_space $space_after { after ' '; }

    map $http_x_key $key_tenant {
        default  "";
        secret   acme;
        other    umbrella;
    }

    server {
        listen  127.0.0.1:8080;

        underscores_in_headers  on;

        proxy_http_version   1.1;
        proxy_set_header     Connection "";
        corral_service_from  rules query;
        corral_tenant        $key_tenant;
        corral_subject       $arg_sub;
        corral_claim         plan   $arg_plan;
        corral_claim         level  $arg_level;
        corral_claim         user   $arg_user;
        corral_claim         beta   $arg_beta;

        location / {
            corral_websocket  agents;
            proxy_set_header  Agent-Subject "$corral_tenant/$corral_subject";
            proxy_pass        http://agents;
        }

        # by a subrequest, whose answer is there behind the access phase only

        location /auth/ {
            auth_request      /verify;
            auth_request_set  $verified $upstream_http_x_subject;
            corral_tenant     $upstream_http_never;
            corral_subject    $verified;
            proxy_set_header  Agent-Subject "$corral_tenant/$corral_subject";
            proxy_pass        http://agents;
        }

        location /any/ {
            satisfy           any;
            allow             127.0.0.1;
            deny              all;
            auth_request      /verify;
            auth_request_set  $verified $upstream_http_x_subject;
            corral_subject    "$verified$arg_sub";
            proxy_set_header  Agent-Subject "$corral_tenant/$corral_subject";
            proxy_pass        http://agents;
        }

        location /undone/ {
            corral_tenant     "";
            corral_claim      plan "";
            proxy_set_header  Agent-Subject "$corral_tenant/$corral_subject";
            proxy_pass        http://agents;

            rewrite  ^/undone(/f/.*)$  $1  break;
        }

        # redirected behind the route step: who it is stays

        location /redirected/ {
            rewrite                 ^/redirected(/.*)$  $1  break;
            error_page              503 = @again;
            proxy_intercept_errors  on;
            proxy_pass              http://agents;
        }

        location @again {
            corral_subject    nobody;
            proxy_set_header  Agent-Subject "$corral_tenant/$corral_subject";
            proxy_pass        http://agents;
            rewrite           ^ /ok break;
        }

        location /text {
            corral_subject    $http_x_subject;
            corral_claim      plan $http_x_plan;
            proxy_pass        http://agents;
        }

        location /padded {
            corral_subject  "$space_before$arg_sub$space_after";
            proxy_pass      http://agents;
        }

        location = /verify {
            internal;
            proxy_pass  http://127.0.0.1:8090/verify?$args;
        }

        location = /status {
            corral_service  off;
            corral_status;
            access_log      off;
        }
    }

    server {
        listen      127.0.0.1:8090;
        access_log  off;

        location = /verify {
            if ($http_x_token = "") {
                return  401;
            }

            add_header  X-Subject $http_x_token;
            return      204;
        }
    }
}

EOC

$t->run()->wait_for_revision(1);

###############################################################################

# the agent is told what nginx.conf tells it, from variables

is(who('/?service=a&sub=ann', 'X-Key: secret'), 'acme/ann', 'told');
is(who('/?service=a'), '/', 'nobody');
is(who('/?service=a', 'X-Key: wrong', 'Corral-Tenant: acme',
    'Corral-Subject: ann'), '/', 'a client is nobody by saying so');

is(who('/auth/?service=a', 'X-Token: bob'), '/bob', 'of auth_request');
is(agent('/auth/?service=a'), 401, 'which still refuses');
is(who('/any/?service=a&sub=ann'), '/ann', 'satisfied by the address');
is(who('/undone/?service=a&sub=ann', 'X-Key: secret'), '/ann', 'undone');

is(who('/redirected/status/503?service=a&sub=ann', 'X-Key: secret'),
    'acme/ann', 'it stays over a redirect');

# and by the gateway's own headers, with every protocol

my @forged = map { ("${_}Tenant: evil", "${_}Subject: evil") }
    'Corral-', 'Corral_', 'CORRAL-', 'X-Corral-', 'X_Corral_';

is(named('/?service=a&sub=ann', 'X-Key: secret', @forged), 'acme ann',
    'Corral-Tenant, Corral-Subject');
is(named('/?service=a', @forged), '', 'not without them');
is(named('/?service=a&sub=ann'), 'ann', 'one of them');

my $who = $t->websocket('/?service=a&sub=ann',
    headers => [ 'X-Key: secret', @forged ]);
is(headers_of($who->ask('!head')), 'acme ann', 'of a WebSocket, too');
$who->close();

# rules

is(agent('/f/tenant/equals', 'X-Key: secret'), 'b', 'tenant');
is(agent('/f/tenant/equals', 'X-Key: other'), 404, 'another one');
is(agent('/f/tenant/equals?tenant=acme', 'Tenant: acme'), 404, 'none');
is(agent('/f/claim.plan/in_list?plan=Gold'), 'b', 'a claim');
is(agent('/f/claim.plan/in_list?plan=tin'), 404, 'another value');
is(agent('/f/claim.plan/in_list'), 404, 'no claim');
is(agent('/undone/f/claim.plan/in_list?plan=gold'), 404, 'a claim undone');
is(agent('/f/claim.level/greater_than?level=10'), 'b', 'a number');
is(agent('/f/claim.level/greater_than?level=9.50'), 404, 'not greater');
is(agent('/f/claim.level/greater_than?level=x'), 404, 'no number');
is(agent('/undone/f/claim.level/greater_than?level=10'), 'b',
    'the other claims are inherited');
is(agent('/f/claim.Plan/exists?plan=gold'), 404, 'claims have a case');
is(agent('/f/claim.level/not_equals?level=7'), 404, 'the opposite');
is(agent('/f/claim.level/not_equals'), 'b', 'holds without a claim');

# who it is keeps a person where it is

for (map { [ canary => "/canary?sub=p$_" ],
        [ hash => "/x?service=hashed&sub=p$_" ],
        [ subject => "/x?service=person&sub=p$_" ],
        [ claim => "/x?service=sticky&user=p$_" ] } 1 .. 3)
{
    my ($what, $uri) = @$_;
    like(seen(6, $uri), qr/^[abc]6$/, "$what: $uri");
}

for ([ canary => '/canary?sub=p' ], [ hash => '/x?service=hashed&sub=p' ],
    [ subject => '/x?service=person&sub=p' ],
    [ claim => '/x?service=sticky&user=p' ])
{
    my ($what, $uri) = @$_;
    my %used = map { agent($uri . $_) => 1 } 1 .. 40;
    is(join(' ', sort keys %used), 'a b c', "$what: people are spread");
}

is(seen(6, '/canary?sub=p1&beta=c'), 'c6', 'a claim forces');
is(seen(6, '/x?service=sticky'), 'a2 b2 c2', 'no claim: in turn');

# a WebSocket goes on elsewhere: its session goes with it

my $ws = $t->websocket('/?service=moves&user=u1&sub=ann',
    headers => [ 'X-Key: secret' ]);
my $first = $ws->ask('!id');
my $other = $t->websocket('/?service=moves&user=u1');
is($other->ask('!id'), $first, 'a claim keeps WebSockets together');
$other->close();

$agents{$first}->drop('reset');
ok(wait_for(sub { ($ws->ask('!id') // $first) ne $first }), 'it is moved');
my $second = $ws->ask('!id');
$other = $t->websocket('/?service=moves&user=u1');
is($other->ask('!id'), $second, 'and the next one of its claim comes there');
$_->close() for $ws, $other;

# the log, of a WebSocket at its end

ok($t->wait_for_log(qr{^/ "acme" "ann"$}m, 'who.log'), 'logged');
ok(wait_for(sub { 2 <= scalar(() = $t->read_file('who.log')
    =~ m{^/ "acme" "ann"$}mg) }), 'of the WebSocket, too');
like($t->read_file('who.log'), qr{^/ "-" "-"$}m, 'nobody is logged as such');

# what is no text, or is too long, is nobody: the request is refused

for ([ 'x' x 200, 200 ], [ 'x' x 201, 403 ], [ "a\tb", 403 ], [ "\xff", 403 ],
    [ "\xc3\xa4nn", 200 ])
{
    my ($subject, $status) = @$_;
    is(status('/text?service=a', "X-Subject: $subject"), $status,
        'subject of ' . length($subject) . " bytes: $status");
}

is(status("/padded?service=a&sub=ann$_"), 403, 'a space at an end')
    for '&space=before', '&space=after';
is(status('/padded?service=a&sub=ann'), 200, 'none');

is(status('/text?service=a', 'X-Plan: ' . 'x' x 1024), 200, 'a long claim');

my $r = http_get('/text?service=a', headers => [ 'X-Plan: ' . 'x' x 1025 ]);
is(http_body($r, json => 1)->{code}, 'bad_identity', 'too long a claim');
like($t->read_file('error.log'),
    qr/corral_claim plan is 1025 bytes long, it may have 1024/, 'and why');

###############################################################################

sub agent {
    my ($uri, @headers) = @_;
    my $r = http_get($uri, headers => \@headers);
    return $r =~ m{^HTTP/1.1 200 } ? http_body($r, json => 1)->{agent}
        : $r =~ m{^HTTP/1.1 (\d+)} ? $1 : $r;
}

sub status {
    my ($uri, @headers) = @_;
    return http_get($uri, headers => \@headers) =~ m{^HTTP/1.1 (\d+)} ? $1 : 0;
}

sub who {
    my ($uri, @headers) = @_;
    my $r = http_get($uri, headers => \@headers);
    return $r =~ m{^HTTP/1.1 200 }
        && http_body($r, json => 1)->{head} =~ /^Agent-Subject: (.*)\r$/mi
        ? $1 : $r;
}

sub named {
    my ($uri, @headers) = @_;
    return headers_of(http_body(http_get($uri, headers => \@headers),
        json => 1)->{head});
}

# values of all headers that an agent may take for Corral's

sub headers_of {
    return join ' ', $_[0] =~ /^(?:x[-_])?corral[-_]\w+: (.*?)\r$/gmi;
}

sub seen {
    my ($n, $uri) = @_;
    my %seen;
    $seen{agent($uri)}++ for 1 .. $n;
    return join ' ', map { "$_$seen{$_}" } sort keys %seen;
}

###############################################################################
