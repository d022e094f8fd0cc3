#!/usr/bin/perl

# Tests for corral_service and corral_service_from: where the service's name
# comes from, and what is answered when there is none.

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

my $t = Test::Corral->new()->has(qw/corral corral_status/);

my %agents = map {
    $_ => $t->agent(id => "$_.1", socket => "$_.sock")
} qw/echo Other.2/;

$t->state_file(
    services => [
        { name => 'echo' }, { name => 'Other.2', service_id => 'abc-123' },
        { name => 'empty' }, { name => 'off', desired => 'stopped' },
        { name => 'sick' },
    ],
    instances => [
        $agents{echo}->instance('echo'),
        $agents{'Other.2'}->instance('Other.2'),
        { id => 'off.1', service => 'off', address => '127.0.0.1:1' },
        { id => 'sick.1', service => 'sick', address => '127.0.0.1:1',
            state => 'failed' },
        { id => 'sick.2', service => 'sick', address => '127.0.0.1:1',
            weight => 0 },
        { id => 'sick.3', service => 'sick', address => '127.0.0.1:1',
            health => 'unhealthy' },
        { id => 'sick.4', service => 'sick', address => '' },
    ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(30);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    map $http_x_tenant $fixed {
        red      echo;
        default  Other.2;
    }

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version  1.1;
        proxy_set_header    Connection "";

        location / {
            corral_service_from  path query;
            proxy_pass           http://agents;
        }

        location /bots/ {
            corral_service_from  path=/bots/ query=agent header=x-agent;
            proxy_pass           http://agents;
        }

        location /query {
            corral_service_from  query;
            proxy_pass           http://agents;
        }

        location /fixed {
            corral_service  echo;
            proxy_pass      http://agents;
        }

        location /variable {
            corral_service  $fixed;
            proxy_pass      http://agents;
        }

        location /both {
            corral_service_from  query;
            corral_service       echo;
            proxy_pass           http://agents;
        }

        location /not {
            proxy_pass  http://agents;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# by path

is(agent('/agents/echo/x'), 'echo.1', 'path');
is(agent('/agents/Other.2/x'), 'Other.2.1', 'path, another service');
is(agent('/agents/abc-123/x'), 'Other.2.1', 'path, by id');
is(agent('/agents/echo'), 'echo.1', 'path without a slash');
is(agent('/agents/echo?x=1'), 'echo.1', 'path with arguments');
is(agent('/agents/%65cho/'), 'echo.1', 'path, encoded');
is(agent('/agents/echo/?service=Other.2'), 'echo.1', 'path before query');

# by query, header, or another name of them

is(agent('/x?service=echo'), 'echo.1', 'query');
is(agent('/x?a=b&service=Other%2e2'), 'Other.2.1', 'query, encoded');
is(agent('/bots/echo/x'), 'echo.1', 'path with another prefix');
is(agent('/bots/?agent=echo'), 'echo.1', 'query with another name');
is(agent('/bots/', 'X-Agent: Other.2'), 'Other.2.1', 'header');

# fixed

is(agent('/fixed'), 'echo.1', 'fixed');
is(agent('/fixed?service=Other.2'), 'echo.1', 'fixed, query not asked');
is(agent('/variable', 'X-Tenant: red'), 'echo.1', 'variable');
is(agent('/variable'), 'Other.2.1', 'variable, another value');
is(agent('/both?service=Other.2'), 'Other.2.1', 'query before fixed');
is(agent('/both'), 'echo.1', 'fixed if the query has none');

# no service: a problem document that says so

my $r = http_get('/agents/nobody/x');

like($r, qr{^HTTP/1.1 404 }, 'unknown service');
like($r, qr{^content-type: application/problem\+json}mi, 'a problem document');
is_deeply(http_body($r, json => 1), { type => 'about:blank', status => 404,
    title => 'Not Found', code => 'service_not_found',
    detail => 'there is no service "nobody"' }, 'its members');

like(http_get('/query'), qr/ 404 .*"code":"service_not_named"/s,
    'no name in the query');
like(http_get('/query?service='), qr/ 404 .*"code":"service_not_named"/s,
    'empty name in the query');
like(http_get('/agents/ec%22ho/'), qr/ 404 .*no service \\"ec\\"ho\\"/s,
    'name is escaped');
like(http_get('/query/agents/echo/'), qr/ 404 /, 'path is not asked');

# nothing ready: the client may come again

$r = http_get('/agents/empty/x');

like($r, qr{^HTTP/1.1 503 .*^retry-after: \d+\r$}msi, 'no instance');
is(http_body($r, json => 1)->{code}, 'service_not_ready', 'its code');
like(http_get('/agents/off/x'), qr/ 503 /, 'stopped service');
like(http_get('/agents/sick/x'), qr/ 503 /, 'no instance that is ready');

# a location without a service cannot use the upstream

like(http_get('/not'), qr/ 50[023] /, 'upstream without a service');

###############################################################################

sub agent {
    my ($uri, @headers) = @_;
    my $r = http_get($uri, headers => \@headers);
    return $r =~ / 200 / ? http_body($r, json => 1)->{agent} : $r;
}

###############################################################################
