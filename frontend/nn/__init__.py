"""Neural networks: modules with forward and backward passes, and criteria.

    net = nn.Sequential(nn.Linear(784, 500), nn.Tanh(), nn.Linear(500, 10), nn.LogSoftMax())
    criterion = nn.ClassNLLCriterion()
    output = net.forward(x)
    loss = criterion.forward(output, y)
    net.zero_grad_parameters()
    net.backward(x, criterion.backward(output, y))
    net.update_parameters(0.01)
"""

from . import init as init
from .activation import ELU as ELU
from .activation import GELU as GELU
from .activation import Dropout as Dropout
from .activation import LeakyReLU as LeakyReLU
from .activation import LogSoftMax as LogSoftMax
from .activation import ReLU as ReLU
from .activation import Sigmoid as Sigmoid
from .activation import SiLU as SiLU
from .activation import SoftMax as SoftMax
from .activation import SoftPlus as SoftPlus
from .activation import Tanh as Tanh
from .containers import Concat as Concat
from .containers import ConcatTable as ConcatTable
from .containers import Container as Container
from .containers import Identity as Identity
from .containers import Parallel as Parallel
from .containers import ParallelTable as ParallelTable
from .containers import Sequential as Sequential
from .criteria import AbsCriterion as AbsCriterion
from .criteria import BCECriterion as BCECriterion
from .criteria import ClassNLLCriterion as ClassNLLCriterion
from .criteria import Criterion as Criterion
from .criteria import CrossEntropyCriterion as CrossEntropyCriterion
from .criteria import MSECriterion as MSECriterion
from .criteria import SmoothL1Criterion as SmoothL1Criterion
from .linear import Linear as Linear
from .linear import LookupTable as LookupTable
from .module import Module as Module
from .normalization import BatchNormalization as BatchNormalization
from .normalization import SpatialBatchNormalization as SpatialBatchNormalization
from .parameters import Buffer as Buffer
from .parameters import Parameter as Parameter
from .shape import Flatten as Flatten
from .shape import Reshape as Reshape
from .shape import View as View
from .spatial import SpatialAveragePooling as SpatialAveragePooling
from .spatial import SpatialConvolution as SpatialConvolution
from .spatial import SpatialDilatedConvolution as SpatialDilatedConvolution
from .spatial import SpatialMaxPooling as SpatialMaxPooling
