#!/usr/bin/perl

# The fault matrix: a shim is killed.  Its agent goes with it, its clients are told,
# and there never is a second copy.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Fault;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $f = Test::Corral::Fault->new();
my $d = $f->d();

$f->plan(16);
$f->begin();

###############################################################################

my ($victim) = $f->instances();
my ($shim) = $d->shim($victim->{instance_id});

ok($shim, 'the shim is found');
is($f->affect(sub { $_[0]{instance_id} eq $victim->{instance_id} }), 12,
    'those on its instance are affected');

$f->strike(sub { kill 'KILL', $shim });
$f->told([ 1001, 1011 ], 2);
ok(wait_for(sub { !Test::Corral::alive($victim->{pid}) }),
    'the agent went with it');
$f->unharmed();

# it is back, as another process under another shim

my $again = { $f->recovered($victim) }->{ $victim->{instance_id} };

is($again->{incarnation}, $victim->{incarnation} + 1, 'in its next incarnation');
isnt($again->{pid}, $victim->{pid}, 'another process');
isnt(($d->shim($victim->{instance_id}))[0], $shim, 'under another shim');
$f->lives('it is back');
is($f->serve(), 20, 'new clients');

$f->finish();
