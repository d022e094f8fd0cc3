#!/usr/bin/perl

# Tests for the examples in conf/: nginx takes them as they stand, but for the
# paths of this machine, and the smallest one serves.

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

my $t = Test::Corral->new()->has(qw/corral corral_websocket/);

sub example {
    my ($name) = @_;

    open my $f, '<', "../conf/$name" or die "conf/$name: $!";
    my $conf = do { local $/; <$f> };

    my $dir = $t->testdir();

    $conf =~ s/^load_module .*$/%%TEST_GLOBALS%%/m or die 'no load_module';
    $conf =~ s/^http \{$/http {\n    %%TEST_GLOBALS_HTTP%%/m or die 'no http';
    $conf =~ s/worker_processes auto/worker_processes 1/;
    $conf =~ s!/var/(?:lib/corral|log/nginx)/!$dir/!g;
    $conf =~ s!unix:/run/corral/!unix:$dir/!g;
    $conf =~ s/listen( +)(\d+)/"listen${1}127.0.0.1:" . ($2 - 1000)/ge;

    return $conf;
}

$t->plan(6);

# all directives

my ($ok, $out) = $t->test_config(example('corral.conf'));
ok($ok, 'corral.conf is taken') or diag($out);

# the word for HTTP/2 before nginx 1.25.1 is the only one that all understand

$out =~ s/^.*"listen \.\.\. http2" directive is deprecated.*\n//mg;
unlike($out, qr/\[warn\]/, 'without a warning');

# the smallest one; there is no Redis: the registry is the file

my $agent = $t->agent(id => 'a', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ { id => 'echo.a', service => 'echo',
        address => $agent->{address} } ]);

$t->write_file_expand('nginx.conf', example('nginx.conf'));
$t->run();

wait_for(sub { http_get('/agents/echo/', port => 8090)
    !~ /registry_not_loaded/ });

my $ws = $t->websocket('/agents/echo/', port => port(8090));
is($ws->ask('hello'), 'hello', 'nginx.conf serves a WebSocket');
$ws->close();

like(http_get('/corral/metrics', port => 8090),
    qr/^corral_build_info/m, 'and metrics');
like(http_get('/agents/none/', port => 8090),
    qr/ 404 .*service_not_found/s, 'and refuses what there is not');
like(http_get('/agents/echo/', port => 8090), qr/ 200 /, 'and HTTP');
