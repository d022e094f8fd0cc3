#!/usr/bin/perl

# Tests for the path prefix: what the agent sees of the target is what the
# client sent, byte for byte.

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

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

# rest of the path as the client sends it => as the agent must see it

my @cases = (
    [ '/x', '/x' ],
    [ '/', '/' ],
    [ '', '/' ],
    [ '?a=b', '/?a=b' ],
    [ '/x?', '/x?' ],
    [ '/a%20b', '/a%20b' ],
    [ '/a%2Fb', '/a%2Fb' ],
    [ '/a%2fb%2e%2e/c', '/a%2fb%2e%2e/c' ],
    [ '/%E4%BD%A0?q=%E5%A5%BD', '/%E4%BD%A0?q=%E5%A5%BD' ],
    [ '/a+b?c+d=e%26f', '/a+b?c+d=e%26f' ],
    [ '/a;v=1,2/b', '/a;v=1,2/b' ],
    [ '/x?service=other&y=/agents/echo/', '/x?service=other&y=/agents/echo/' ],
    [ '/agents/echo/x', '/agents/echo/x' ],
);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(2 * @cases + 9);

%%TEST_GLOBALS%%

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    log_format  uri  '"$request_uri"';

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version  1.1;
        proxy_set_header    Connection "";

        location / {
            corral_service_from  path query;
            corral_websocket     agents;
            proxy_pass           http://agents;
            access_log           %%TESTDIR%%/uri.log  uri;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

for my $case (@cases) {
    my ($sent, $wanted) = @$case;

    is(uri("/agents/echo$sent"), $wanted, "http '$sent'");

    my $ws = $t->websocket("/agents/echo$sent");
    my ($target) = ($ws->ask('!head') // '') =~ /^GET (\S+)/;
    is($target, $wanted, "websocket '$sent'");
    $ws->close();
}

# without a prefix nothing is taken off

is(uri('/a%2Fb?service=echo&x'), '/a%2Fb?service=echo&x', 'query');

# a path that nginx has to normalise loses its form, not its meaning; never does
# the agent get one that climbs above its root

is(uri('/agents/echo/../echo/x'), '/x', 'climbs over the prefix');
is(uri('/agents/none/../echo/x'), '/x', 'climbs into the prefix');
is(uri('/agents/%65cho/b%20c'), '/b%20c', 'encoded prefix');
is(uri('//agents//echo//x'), '/x', 'slashes merged');

# the header says what was taken off; the client's own is not believed

my $r = http_get('/agents/echo/x',
    headers => [ 'X-Forwarded-Prefix: /forged' ]);
my $head = http_body($r, json => 1)->{head};

is(join(',', $head =~ /^x-forwarded-prefix: (.*)\r$/mgi), '/agents/echo',
    'x-forwarded-prefix');

$head = http_body(http_get('/x?service=echo',
    headers => [ 'X-Forwarded-Prefix: /forged' ]), json => 1)->{head};

unlike($head, qr/x-forwarded-prefix/i, 'not without a prefix');

# the log has what the client sent

like($t->read_file('uri.log'), qr{^"/agents/echo/a%2Fb"$}m, 'log of http');
ok($t->wait_for_log(qr{^"/agents/echo/a%2fb%2e%2e/c"\n"/agents/echo/a%2fb}m,
    'uri.log'), 'log of websocket');

###############################################################################

sub uri {
    my $r = http_get(@_);
    return $r =~ / 200 / ? http_body($r, json => 1)->{uri} : $r;
}

###############################################################################
