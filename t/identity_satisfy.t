#!/usr/bin/perl

# Tests for "satisfy any" with a module that nginx asks before Corral: it lets
# the client in, and its headers and its Origin are looked at all the same.

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

my $t = Test::Corral->new()->has(qw/corral corral_websocket cc/);
my $tree = "$Test::Corral::BUILD/tree";

plan(skip_all => 'no source of nginx') unless -d "$tree/objs";

my $late = $t->testdir() . '/late.so';

system(qw/cc -shared -fPIC -o/, $late, 'late/ngx_http_late_module.c',
    map { "-I$tree/$_" } qw{src/core src/event src/event/modules src/os/unix
    src/http src/http/modules src/http/v2 objs}) == 0
    or die "The module does not compile\n";

my $agent = $t->agent(id => 'a', socket => 'a.sock');

$t->state_file(services => [ { name => 'a' } ],
    instances => [ $agent->instance('a') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(5);

%%TEST_GLOBALS%%

load_module  %%TESTDIR%%/late.so;

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
            satisfy              any;
            corral_service_from  query;
            corral_subject       $arg_sub;
            corral_websocket     agents;
            proxy_pass           http://agents;
        }

        location = /status {
            corral_status;
        }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

my @forged = ('Corral-Subject: evil', 'X-Corral-Tenant: evil');

is(seen(), '', 'what the client calls itself does not pass');
is(seen('&sub=ann'), 'ann', 'but what the gateway knows');
like(http_get('/?service=a', headers => [ 'Origin: http://evil.example' ]),
    qr/403 .*origin_refused/s, 'foreign pages are refused');

my $ws = $t->websocket('/?service=a&sub=ann', headers => \@forged);
unlike($ws->ask('!head'), qr/evil/, 'of a WebSocket, too');
is($ws->close(), 1000, 'closed');

###############################################################################

# values of the headers that an agent takes for Corral's

sub seen {
    my ($query) = @_;
    my $doc = http_body(http_get('/?service=a' . ($query // ''),
        headers => \@forged), json => 1);
    return join ' ', $doc->{head} =~ /^(?:x-)?corral-\w+: (.*?)\r$/gmi;
}

###############################################################################
