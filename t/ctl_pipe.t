#!/usr/bin/perl

# A command that follows something ends when nobody reads what it prints: in
# "corral logs -f x | head -1", as other programs do.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();

$t->plan(9 + 3);
$s->start(1);
$s->echo('echo', 1);

my $gateway = 'http://127.0.0.1:' . $t->port(8080);

###############################################################################

# the agent says nothing more after each first line

ends('a connection', "timeout 20 corral call echo hi -f --gateway $gateway"
    . ' | head -1', qr/^hi$/);
my ($id) = map { /"event_id": ?"([^"]+)"/ }
    (split /\n/, ($d->ctl('events', '-o', 'json'))[1])[-2];

ends('events', "timeout 20 corral events -w --last-id $id | head -1", qr/\S/);
ends('logs', 'timeout 20 corral logs -f echo | head -1', qr/started pid/);

my ($code, $out, $err) = $d->ctl('logs', 'echo');
is($code, 0, 'without a pipe it ends by itself');
like($out, qr/started pid/, 'with all lines');
is($err, '', 'and no complaint');

$s->finish();

###############################################################################

sub ends {
    my ($name, $line, $re) = @_;

    my $t0 = time();
    like($d->ctl_shell($line), $re, "$name: the first line");
    cmp_ok(time() - $t0, '<', 10, "$name: then it ends");
}

###############################################################################
